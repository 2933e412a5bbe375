//! What belongs to one request in lines that are written into many: its branch and the MAC of its tokens in Record-Route.

use std::net::SocketAddr;

use super::base32::Part;
use super::branch::{Branch, Signed};
use super::keys::{Keys, Mac};
use super::prf::{Block, Cipher, Pass, Taking};
use super::record_route::{Covered, Dialog};

/// The parts of the branch of a request that goes on, whose answer will be sent to `response_to`; and of the MAC that its
/// token has, or both of a pair; where there is no token, the latter says nothing. The dialog says who signs.
///
/// All of them in one go: what [`Branch::write`] and [`super::RecordRoute::written`] write one by one.
#[inline(always)]
pub fn parts_onward(
    keys: &Keys,
    branch: &Branch,
    response_to: SocketAddr,
    token: Option<Covered>,
    dialog: &Dialog<'_>,
) -> ([Part; 3], Part) {
    let Dialog { signer, call_id, from_tag } = *dialog;
    let token = token.map(|token| token.last(call_id, from_tag));
    let (signed, macs) = (branch.signed(response_to), Default::default());
    let mut lines = Lines { branch: signed, token, dialog: [call_id, from_tag], macs };
    keys.named(signer).prf.pass(&mut lines);
    let [of_branch, of_token] = lines.macs.map(Mac::cut);
    (branch.parts(of_branch), of_token.part())
}

/// What both MACs cover.
struct Lines<'a> {
    branch: Signed,
    /// The last block of what the token's covers.
    token: Option<Block>,
    /// What stands before it.
    dialog: [&'a [u8]; 2],
    macs: [Block; 2],
}

impl Pass for Lines<'_> {
    #[inline(always)]
    fn take_in<C: Cipher, const FAR: bool>(&mut self, new: Taking<'_, C, FAR>) -> u32 {
        let (mut branch, mut token) = (new.clone(), new);
        let Signed { before: [first, second], is_v6, last } = self.branch;
        branch.block(first);
        if is_v6 {
            branch.block(second);
        }
        self.macs[0] = branch.end(last);
        if let Some(last) = self.token {
            self.dialog.iter().for_each(|text| token.part(text));
            self.macs[1] = token.end(last);
        }
        token.running.bytes
    }
}
