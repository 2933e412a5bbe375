//! What two trees differ in.

use std::sync::Arc;

use super::leaf::Leaf;
use super::{Entry, Node, Trie};
use crate::fib::table::Net;

/// Looks for the prefixes that two trees differ in; shared nodes have none.
pub(in crate::fib) struct Differences<'a, P, F> {
    /// The lists of these numbers, the older tree's and the newer's, are the same.
    pub same: F,
    /// Numbers mean the same to both trees, so that nodes which both have need not be looked into.
    pub related: bool,
    /// What was found.
    pub found: &'a mut Vec<P>,
}

impl<P: Net, F: Fn(u32, u32) -> bool> Differences<'_, P, F> {
    pub fn between(&mut self, old: &Trie<P>, new: &Trie<P>) {
        self.nodes(Some(&old.root), Some(&new.root));
    }

    fn nodes(&mut self, old: Option<&Node<P>>, new: Option<&Node<P>>) {
        match (old, new) {
            (Some(Node::Leaf(old)), Some(Node::Leaf(new))) => self.leaves(old, new),
            (Some(Node::Branch(old)), Some(Node::Branch(new))) => {
                if self.related && Arc::ptr_eq(old, new) {
                    return;
                }
                self.leaves(&old.short, &new.short);
                for (old, new) in old.children.iter().zip(&new.children) {
                    self.nodes(old.as_ref(), new.as_ref());
                }
            }
            (old, new) => {
                let entries = |node: Option<&Node<P>>| {
                    let mut entries = Vec::new();
                    node.into_iter().for_each(|node| node.collect(&mut entries));
                    entries.sort_unstable_by_key(Entry::order);
                    entries
                };
                self.entries(&entries(old), &entries(new));
            }
        }
    }

    fn leaves(&mut self, old: &Leaf<P>, new: &Leaf<P>) {
        if !(self.related && old.is(new)) {
            self.entries(old.entries(), new.entries());
        }
    }

    /// Both in order.
    fn entries(&mut self, mut old: &[Entry<P>], mut new: &[Entry<P>]) {
        loop {
            let next = match (old.first(), new.first()) {
                (Some(o), Some(n)) if o.order() == n.order() => {
                    (old, new) = (&old[1..], &new[1..]);
                    if (self.same)(o.list, n.list) {
                        continue;
                    }
                    n
                }
                (Some(o), Some(n)) if o.order() > n.order() => {
                    new = &new[1..];
                    n
                }
                (None, Some(n)) => {
                    new = &new[1..];
                    n
                }
                (Some(o), _) => {
                    old = &old[1..];
                    o
                }
                (None, None) => return,
            };
            self.found.push(next.prefix());
        }
    }
}
