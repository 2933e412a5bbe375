//! Keys made of symbols, and the longest of them that a text begins with: number prefixes, the fixed
//! beginnings and ends of patterns, networks by nibble.

/// No key, no value, no node.
pub(super) const NONE: u32 = u32::MAX;

/// Symbol of bytes that the text is read without.
const SKIPPED: u16 = u16::MAX;
/// Symbol of bytes that stand in no key.
const FOREIGN: u16 = u16::MAX - 1;

/// A trie whose nodes either branch or end a key; what lies between is a label.
pub(super) struct Trie {
    symbols: Box<[u16; 256]>,
    /// Symbols in use: the length of a row.
    width: usize,
    nodes: Vec<Node>,
    /// For each node that branches and each symbol the node that follows; 0: none.
    rows: Vec<u32>,
    labels: Vec<u16>,
    /// For each key the longest other one that it begins with.
    parents: Vec<u32>,
}

struct Node {
    key: u32,
    row: u32,
    label: u32,
    length: u32,
}

/// Keys that share their first `depth` symbols, to be put below a slot of a row.
struct Task {
    keys: std::ops::Range<usize>,
    depth: usize,
    parent: u32,
    slot: Option<usize>,
}

impl Trie {
    /// Of distinct keys, which are numbered in the order given. `fold` says as which byte each byte of
    /// keys and texts counts; `None`: it is skipped.
    pub fn new(keys: &[Vec<u8>], fold: impl Fn(u8) -> Option<u8>) -> Self {
        let mut this = Self {
            symbols: Box::new([FOREIGN; 256]),
            width: 0,
            nodes: Vec::new(),
            rows: Vec::new(),
            labels: Vec::new(),
            parents: vec![NONE; keys.len()],
        };
        this.choose_symbols(keys, fold);
        let mut sorted: Vec<(Vec<u16>, u32)> =
            keys.iter().enumerate().map(|(n, key)| (this.in_symbols(key), n as u32)).collect();
        sorted.sort();
        sorted.dedup_by(|b, a| a.0 == b.0);
        let mut tasks = vec![Task { keys: 0..sorted.len(), depth: 0, parent: NONE, slot: None }];
        while let Some(task) = tasks.pop() {
            this.add(&sorted, task, &mut tasks);
        }
        this
    }

    fn choose_symbols(&mut self, keys: &[Vec<u8>], fold: impl Fn(u8) -> Option<u8>) {
        let mut used = [false; 256];
        for byte in keys.iter().flatten().filter_map(|&byte| fold(byte)) {
            used[usize::from(byte)] = true;
        }
        let mut numbers = [FOREIGN; 256];
        for byte in (0..256).filter(|&byte| used[byte]) {
            numbers[byte] = self.width as u16;
            self.width += 1;
        }
        for byte in 0..=u8::MAX {
            self.symbols[usize::from(byte)] =
                fold(byte).map_or(SKIPPED, |as_byte| numbers[usize::from(as_byte)]);
        }
    }

    fn in_symbols(&self, key: &[u8]) -> Vec<u16> {
        key.iter().map(|&byte| self.symbols[usize::from(byte)]).filter(|&symbol| symbol != SKIPPED).collect()
    }

    fn add(&mut self, sorted: &[(Vec<u16>, u32)], task: Task, tasks: &mut Vec<Task>) {
        let node = self.nodes.len() as u32;
        if let Some(slot) = task.slot {
            self.rows[slot] = node;
        }
        let mut keys = task.keys;
        let (first, last) = match (sorted.get(keys.start), sorted.get(keys.end.wrapping_sub(1))) {
            (Some(first), Some(last)) => (&first.0, &last.0),
            _ => (&Vec::new(), &Vec::new()),
        };
        let shared = first[task.depth..].iter().zip(&last[task.depth..]).take_while(|(a, b)| a == b).count();
        // The root has no label: it is where every text begins.
        let shared = if task.slot.is_some() { shared } else { 0 };
        let depth = task.depth + shared;
        let (label, length) = (self.labels.len() as u32, shared as u32);
        self.labels.extend(&first[task.depth..depth]);
        let (mut key, mut parent) = (NONE, task.parent);
        if !keys.is_empty() && first.len() == depth {
            key = sorted[keys.start].1;
            self.parents[key as usize] = parent;
            parent = key;
            keys.start += 1;
        }
        let row = if keys.is_empty() { NONE } else { self.rows.len() as u32 };
        self.nodes.push(Node { key, row, label, length });
        self.rows.resize(self.rows.len() + if keys.is_empty() { 0 } else { self.width }, 0);
        while !keys.is_empty() {
            let symbol = sorted[keys.start].0[depth];
            let same = sorted[keys.clone()].partition_point(|(key, _)| key[depth] == symbol);
            let slot = row as usize + usize::from(symbol);
            let part = keys.start..keys.start + same;
            tasks.push(Task { keys: part, depth: depth + 1, parent, slot: Some(slot) });
            keys.start += same;
        }
    }

    /// The longest key that the text begins with, or [`NONE`]; the shorter ones are its [`Trie::parent`]s.
    #[inline]
    pub fn longest(&self, text: impl Iterator<Item = u8>) -> u32 {
        let mut symbols =
            text.map(|byte| self.symbols[usize::from(byte)]).filter(|&symbol| symbol != SKIPPED);
        let mut node = &self.nodes[0];
        let mut found = node.key;
        while node.row != NONE {
            let Some(symbol) = symbols.next().filter(|&symbol| symbol != FOREIGN) else { break };
            let next = self.rows[node.row as usize + usize::from(symbol)];
            if next == 0 {
                break;
            }
            node = &self.nodes[next as usize];
            let label = &self.labels[node.label as usize..][..node.length as usize];
            if !label.iter().all(|symbol| symbols.next() == Some(*symbol)) {
                break;
            }
            if node.key != NONE {
                found = node.key;
            }
        }
        found
    }

    /// The longest other key that a key begins with, or [`NONE`].
    #[inline]
    pub fn parent(&self, key: u32) -> u32 {
        self.parents[key as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(trie: &Trie, text: &str) -> Vec<u32> {
        let longest = Some(trie.longest(text.bytes())).filter(|&key| key != NONE);
        std::iter::successors(longest, |&key| Some(trie.parent(key)).filter(|&key| key != NONE)).collect()
    }

    fn keys(keys: &[&str]) -> Vec<Vec<u8>> {
        keys.iter().map(|key| key.as_bytes().to_vec()).collect()
    }

    #[test]
    fn every_key_that_a_text_begins_with_is_found() {
        let trie = Trie::new(&keys(&["49", "4989", "49891", "33", "4"]), Some);
        assert_eq!(all(&trie, "498912"), [2, 1, 0, 4]);
        assert_eq!(all(&trie, "49892"), [1, 0, 4]);
        assert_eq!(all(&trie, "498"), [0, 4]);
        assert_eq!(all(&trie, "4x"), [4]);
        assert!(all(&trie, "3").is_empty());
        assert!(all(&trie, "").is_empty());
    }

    #[test]
    fn an_empty_key_begins_every_text() {
        let trie = Trie::new(&keys(&["", "a"]), Some);
        assert_eq!((all(&trie, ""), all(&trie, "b"), all(&trie, "ab")), (vec![0], vec![0], vec![1, 0]));
        assert!(all(&Trie::new(&[], Some), "a").is_empty());
    }

    #[test]
    fn bytes_count_as_folded_and_skipped_ones_do_not() {
        let fold = |byte: u8| (byte != b'-').then_some(byte.to_ascii_lowercase());
        let trie = Trie::new(&keys(&["a-b", "abC"]), fold);
        assert_eq!((all(&trie, "A--B"), all(&trie, "-aBc-")), (vec![0], vec![1, 0]));
    }

    #[test]
    fn all_bytes_may_stand_in_keys() {
        let keys: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte, byte]).collect();
        let trie = Trie::new(&keys, Some);
        assert!((0..=u8::MAX).all(|byte| trie.longest([byte, byte].into_iter()) == u32::from(byte)));
    }
}
