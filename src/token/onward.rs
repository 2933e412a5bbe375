//! What belongs to one request in lines that are written into many: its branch and the MAC of its tokens in Record-Route.

use std::net::SocketAddr;

use super::base32::Part;
use super::branch::Branch;
use super::keys::{Keys, Mac};
use super::prf::{Block, Message, Running};
use super::record_route::{Dialog, RecordRoute};

/// The parts of the branch of a request that goes on, whose answer will be sent to `response_to`; and of the MAC that its
/// token has, or both of a pair; where there is no token, the latter says nothing. The dialog says who signs.
///
/// All of them in one go: what [`Branch::write`] and [`RecordRoute::written`] write one by one.
#[inline(always)]
pub fn parts_onward(
    keys: &Keys,
    branch: &Branch,
    response_to: SocketAddr,
    token: Option<&RecordRoute>,
    dialog: &Dialog<'_>,
) -> ([Part; 3], Part) {
    let Dialog { signer, call_id, from_tag } = *dialog;
    let (signed, texts) = (branch.signed(response_to), [call_id, from_tag]);
    let mut of_branch = [signed.last];
    let mut of_token = [token.map_or_else(Block::default, |token| token.last(call_id, from_tag))];
    let mut messages = [
        Message { blocks: signed.before(), ..Message::ended(&mut of_branch) },
        Message { parts: &texts, ..Message::ended(&mut of_token) },
    ];
    let messages = if token.is_some() { &mut messages[..] } else { &mut messages[..1] };
    keys.named(signer).prf.values(&mut Running::default(), messages);
    let [of_branch, of_token] = [of_branch, of_token].map(|[full]| Mac::cut(full));
    (branch.parts(of_branch), of_token.part())
}
