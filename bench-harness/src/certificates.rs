//! `certificates`: an authority and a certificate by it, for whoever takes part in a load over TLS.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::output::say;

/// Makes an authority and a certificate, for `load --transport tls` and the forwarder that it goes through
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes ca.pem (an authority, whose key is thrown away), host.pem and host.key (a certificate by it, for all the addresses,
and its key) into a folder; keys are ECDSA on P-256. Files that are there already stay, and end it.

The forwarder and the load take the same files. Of a Viaduct, for a listener over TLS:
  certificate = \"certificates/host.pem\"
  key = \"certificates/host.key\"
  ca = \"certificates/ca.pem\"

Examples:
  bench-harness certificates 10.1.0.1 10.2.0.1 10.2.0.2    # the forwarder's addresses and the callee's")]
pub struct Args {
    /// Addresses that the certificate is for
    #[arg(required = true)]
    addresses: Vec<IpAddr>,
    /// Folder for the files
    #[arg(long, value_name = "DIR", default_value = "certificates")]
    out: PathBuf,
}

/// The authority's certificate.
pub const AUTHORITY: &str = "ca.pem";
/// The certificate that it has issued.
pub const CERTIFICATE: &str = "host.pem";
/// The key to it.
pub const KEY: &str = "host.key";

/// Makes them and tells where they are.
pub fn execute(args: &Args) -> io::Result<bool> {
    make(&args.out, &args.addresses)?;
    say!("{}: {AUTHORITY}, {CERTIFICATE}, {KEY}", args.out.display())?;
    Ok(true)
}

/// Makes an authority, and a certificate for these addresses, in a folder.
///
/// # Errors
/// A file is there already, or cannot be written.
pub fn make(folder: &Path, addresses: &[IpAddr]) -> io::Result<()> {
    let (authority, certificate, key) = issued(addresses).map_err(io::Error::other)?;
    std::fs::create_dir_all(folder)?;
    for (name, text, mode) in
        [(AUTHORITY, authority, 0o644), (CERTIFICATE, certificate, 0o644), (KEY, key, 0o600)]
    {
        let path = folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

/// As PEM: the authority, the certificate, its key.
fn issued(addresses: &[IpAddr]) -> Result<(String, String, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "load");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "load host");
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = addresses.iter().map(|address| SanType::IpAddress(*address)).collect();
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    Ok((authority.pem(), certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_their_owners_and_nothing_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let addresses = ["10.2.0.2", "2001:db8::1"].map(|address| address.parse().unwrap());
        make(folder.path(), &addresses).unwrap();
        let key = std::fs::metadata(folder.path().join(KEY)).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
        let again = make(folder.path(), &addresses).unwrap_err();
        assert!(again.kind() == io::ErrorKind::AlreadyExists && again.to_string().contains(AUTHORITY));
    }
}
