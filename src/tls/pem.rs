//! Why a text is no PEM, in words. None of them shows what stands between BEGIN and END: it may be a key.

use rustls::pki_types::pem::Error;

/// One clause, without a full stop.
pub(super) fn fault(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { end_marker } => {
            let what = String::from_utf8_lossy(end_marker);
            format!("it ends before «END {what}», so it may have been cut off")
        }
        Error::IllegalSectionStart { .. } => "a line with «BEGIN» does not end as it should".to_owned(),
        Error::Base64Decode(_) => "what stands between «BEGIN» and «END» is not base64".to_owned(),
        // Texts without what was read.
        other => other.to_string(),
    }
}
