//! User parts as rules see them.

use crate::swar::{any_eight, has_byte};

/// The user part percent-decoded once into `buffer` and cut at the first `;` (so that neither `%33` nor
/// a parameter in the user part gets around a rule).
///
/// What does not fit into the buffer is cut off; [`crate::limits::USER_BYTES`] is the size to give.
///
/// A user without escapes is returned as it is, uncopied.
#[inline]
pub fn plain_user<'b>(user: &'b [u8], buffer: &'b mut [u8]) -> &'b [u8] {
    match may_have_special(user) || user.len() > buffer.len() {
        false => user,
        true => cut_and_decoded(user, buffer),
    }
}

#[cold]
fn cut_and_decoded<'b>(user: &'b [u8], buffer: &'b mut [u8]) -> &'b [u8] {
    let Some(special) = user.iter().position(|c| matches!(c, b'%' | b';')) else {
        return user.get(..buffer.len()).unwrap_or(user);
    };
    if user[special] == b';' {
        return user.get(..special.min(buffer.len())).unwrap_or_default();
    }
    let decoded = sip_parser::percent_decode(user, buffer);
    &decoded[..memchr::memchr(b';', decoded).unwrap_or(decoded.len())]
}

/// Whether the user has some `%` or `;`. Most users have none: eight bytes are looked at at a
/// time, the last eight perhaps twice.
#[inline]
fn may_have_special(user: &[u8]) -> bool {
    let found = any_eight(user, |eight| has_byte(eight, b'%') | has_byte(eight, b';'));
    found.unwrap_or_else(|| user.iter().any(|c| matches!(c, b'%' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_decoded_once_and_cut() {
        let plain = |user: &str| {
            let mut buffer = [0; 64];
            String::from_utf8(plain_user(user.as_bytes(), &mut buffer).to_vec()).unwrap()
        };
        assert_eq!(plain("%2A33%31"), "*331");
        assert_eq!(plain("%2533"), "%33");
        assert_eq!(plain("331;phone-context=+49"), "331");
        assert_eq!(plain("331%3Bx"), "331");
        assert_eq!(plain("50%"), "50%");
        assert_eq!(plain("&'()*+,-./:<%31"), "&'()*+,-./:<1");
        assert_eq!(plain("0123456789abcdef;x"), "0123456789abcdef");
        assert_eq!(plain("0123456789abcdef01234567%38;x"), "0123456789abcdef012345678");
    }
}
