//! Number prefixes of the Request-URI's user part: a trie that is walked once.

use super::bits::Bits;

/// The rules for each prefix that a rule names.
pub(super) struct Prefixes {
    nodes: Vec<Node>,
}

struct Node {
    /// Sorted by byte.
    next: Vec<(u8, u32)>,
    rules: Bits,
}

/// RFC 3966 §3: visual-separator, and the space that a decoded `%20` is.
fn is_separator(c: u8) -> bool {
    matches!(c, b'-' | b'.' | b'(' | b')' | b' ')
}

impl Prefixes {
    /// `prefixes` has an item for each rule: the prefixes it asks for; empty: any.
    pub fn new<'k>(prefixes: impl ExactSizeIterator<Item = &'k [Box<str>]> + Clone) -> Self {
        let mut any = Bits::none(prefixes.len());
        for (rule, _) in prefixes.clone().enumerate().filter(|(_, asked)| asked.is_empty()) {
            any.insert(rule);
        }
        let mut this = Self { nodes: vec![Node { next: Vec::new(), rules: any.clone() }] };
        let empty = Bits::none(prefixes.len());
        for (rule, asked) in prefixes.enumerate() {
            for prefix in asked {
                let node = this.node_for(prefix.as_bytes(), &empty);
                this.nodes[node].rules.insert(rule);
            }
        }
        this.inherit(0, &any);
        this
    }

    fn node_for(&mut self, prefix: &[u8], empty: &Bits) -> usize {
        let mut node = 0;
        for c in prefix.iter().copied().filter(|&c| !is_separator(c)) {
            node = match self.nodes[node].next.binary_search_by_key(&c, |&(byte, _)| byte) {
                Ok(at) => self.nodes[node].next[at].1 as usize,
                Err(at) => {
                    let new = self.nodes.len();
                    self.nodes[node].next.insert(at, (c, new as u32));
                    self.nodes.push(Node { next: Vec::new(), rules: empty.clone() });
                    new
                }
            };
        }
        node
    }

    /// A user that begins with a longer prefix begins with the shorter one too.
    fn inherit(&mut self, root: usize, from: &Bits) {
        let mut open = vec![(root, from.clone())];
        while let Some((node, above)) = open.pop() {
            self.nodes[node].rules.or(&above);
            let rules = self.nodes[node].rules.clone();
            open.extend(self.nodes[node].next.iter().map(|&(_, child)| (child as usize, rules.clone())));
        }
    }

    /// Any rule asks for a prefix.
    pub fn is_asked(&self) -> bool {
        self.nodes.len() > 1
    }

    /// The rules for a user part, seen without visual separators.
    pub fn get(&self, user: &[u8]) -> &Bits {
        let mut node = &self.nodes[0];
        for c in user.iter().copied().filter(|&c| !is_separator(c)) {
            match node.next.binary_search_by_key(&c, |&(byte, _)| byte) {
                Ok(at) => node = &self.nodes[node.next[at].1 as usize],
                Err(_) => break,
            }
        }
        &node.rules
    }
}
