//! The To tag of our own answers: what makes their ACK known without state.

use super::base32;
use super::keys::{Keys, MAC_BYTES, Mac, Purpose};
use super::transaction::TransactionKey;

/// Length of a To tag in bytes.
pub const TO_TAG_LEN: usize = base32::encoded_len(MAC_BYTES);

/// Makes and knows the To tags of our own answers: a MAC of the transaction key, so that only the ACK
/// of the very transaction that was answered carries it (RFC 3261 §17.1.1.3: the ACK for a non-2xx
/// answer has its INVITE's branch and the answer's To tag).
pub enum ToTag {}

impl ToTag {
    /// Writes the tag for an answer to this transaction.
    pub fn write(keys: &Keys, transaction: TransactionKey, out: &mut [u8; TO_TAG_LEN]) {
        let mac = keys.sign(keys.signer(), &[transaction.0.to_be_bytes()], Purpose::ToTag.last(0));
        [*out] = base32::encode(&[mac.part()]);
    }

    /// Whether `tag` is ours for this transaction.
    pub fn verify(keys: &Keys, transaction: TransactionKey, tag: &[u8]) -> bool {
        let part = <&[u8; TO_TAG_LEN]>::try_from(tag).ok().and_then(base32::decode);
        let before = [transaction.0.to_be_bytes()];
        part.is_some_and(|[mac]| keys.verify(&before, Purpose::ToTag.last(0), Mac::of(mac)))
    }
}
