//! Certificates: when they run out.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Readings, counter, put_alone};

/// A certificate of the configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateReading {
    /// The `[[listener]]` that shows it.
    pub listener: Box<str>,
    /// Its file.
    pub file: Box<str>,
    /// Seconds since 1970 until which it and its chain are valid.
    pub not_after: u64,
}

impl Readings {
    /// Nothing where no listener has any.
    pub(super) fn certificates(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        if self.certificates.is_empty() {
            return Ok(());
        }
        let mut family = out.encode_descriptor(
            "certificate_expiry",
            "Until a certificate, or one in its chain, runs out; negative: since",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for reading in &self.certificates {
            let labels = [("listener", &*reading.listener), ("file", &*reading.file)];
            let left = reading.not_after as i64 - self.process.unix_time as i64;
            family.encode_family(&labels)?.encode_gauge(&left)?;
        }
        let failed = counter(
            out,
            "certificates_failed",
            "Changed files of certificates that could not be used, so that those from before stay",
        )?;
        put_alone(failed, self.process.certificates_failed)
    }
}
