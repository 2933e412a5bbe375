//! A filter as the kernel takes it: classic BPF (bpf(2), Documentation/networking/filter.rst), which needs no privilege.
//!
//! The kernel has it read a datagram from its UDP header on. A load beyond its end drops it, so its length is asked first.

use libc::sock_filter;

use super::{DIGITS, END, Filter, METHODS, NUMBER, PHONE, SCHEME};
use crate::overload::Kept;

/// A filter for the kernel.
#[derive(Debug, Default)]
pub struct Program(Vec<sock_filter>);

/// `BPF_MAXINSNS`.
const MOST: usize = 4096;

const LOAD: u32 = libc::BPF_LD | libc::BPF_ABS;
const LOAD_BEHIND_X: u32 = libc::BPF_LD | libc::BPF_IND;
const LOAD_LEN: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_LEN;
const SET_X: u32 = libc::BPF_LDX | libc::BPF_IMM;
const SAVE_X: u32 = libc::BPF_STX;
const LOAD_X: u32 = libc::BPF_LDX | libc::BPF_MEM;
const X_TO_A: u32 = libc::BPF_MISC | libc::BPF_TXA;
const A_TO_X: u32 = libc::BPF_MISC | libc::BPF_TAX;
const ADD: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K;
const GO: u32 = libc::BPF_JMP | libc::BPF_JA;
const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IS_MORE: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const IS_NOT_LESS: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// A place where a random number of 32 bits is read.
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;

/// So many bytes are loaded by this.
const WIDTHS: [(usize, u32); 3] = [(4, libc::BPF_W), (2, libc::BPF_H), (1, libc::BPF_B)];

/// Bytes of a UDP header.
const HEADER: u32 = 8;

/// Where bytes are compared.
#[derive(Clone, Copy)]
enum At {
    /// So far from the begin of the UDP header.
    Begin(u32),
    /// So far behind X.
    X(u32),
}

impl Filter<'_> {
    /// What drops all but `kept` of the requests that fit; `None`: none can be told, or there is too much to look for.
    pub fn program(&self, kept: Kept) -> Option<Program> {
        self.program_below(kept.below())
    }

    /// The same for those of random numbers that are below this one.
    pub(super) fn program_below(&self, below: u32) -> Option<Program> {
        if !self.can_tell() {
            return None;
        }
        let mut program = Program::default();
        program.skip_unless(LOAD_LEN, 0, IS_NOT_LESS, HEADER + self.least() as u32);
        program.skip_unless(LOAD | libc::BPF_W, RANDOM, IS_NOT_LESS, below);
        let to_number: Vec<usize> = METHODS.iter().map(|method| program.method(method)).collect();
        program.take();
        to_number.iter().for_each(|jump| program.lands(*jump));
        program.put(SAVE_X, 0);
        let to_hosts: Vec<usize> = (0..=DIGITS as u32).flat_map(|place| program.digit(place)).collect();
        program.take();
        to_hosts.iter().for_each(|jump| program.lands(*jump));
        let to_drop: Vec<usize> = self.own().flat_map(|own| program.host(own)).collect();
        program.take();
        to_drop.iter().for_each(|jump| program.lands(*jump));
        program.put(LOAD_X, 0);
        self.emergency().for_each(|number| program.emergency(number));
        program.put(RETURN, 0);
        (program.0.len() <= MOST).then_some(program)
    }
}

impl Program {
    /// Its instructions, 4,096 at most.
    pub fn steps(&self) -> &[sock_filter] {
        &self.0
    }

    fn put(&mut self, code: u32, k: u32) {
        self.ask(code, k, [0, 0]);
    }

    /// So many steps are left out where it is so, and where it is not.
    fn ask(&mut self, code: u32, k: u32, [jt, jf]: [u8; 2]) {
        self.0.push(sock_filter { code: code as u16, jt, jf, k });
    }

    /// Ends: the whole datagram comes in.
    fn take(&mut self) {
        self.put(RETURN, u32::MAX);
    }

    /// Goes on where that is so, else takes the datagram.
    fn skip_unless(&mut self, load: u32, place: u32, question: u32, k: u32) {
        self.put(load, place);
        self.ask(question, k, [1, 0]);
        self.take();
    }

    /// A jump whose end is not known yet.
    fn jump(&mut self) -> usize {
        self.put(GO, 0);
        self.0.len() - 1
    }

    /// That jump goes to the next step.
    fn lands(&mut self, jump: usize) {
        let next = self.0.len();
        if let Some(step) = self.0.get_mut(jump) {
            step.k = (next - jump - 1) as u32;
        }
    }

    /// Goes on where the text stands there; else it goes on behind what `then` puts.
    fn compare<T>(&mut self, text: &[u8], at: At, then: impl FnOnce(&mut Self) -> T) -> T {
        let (mut rest, mut asked, mut done) = (text, Vec::new(), 0);
        while let Some((size, width)) = WIDTHS.into_iter().find(|(size, _)| *size <= rest.len()) {
            let (bytes, behind) = rest.split_at(size);
            match at {
                At::Begin(place) => self.put(LOAD | width, place + done),
                At::X(place) => self.put(LOAD_BEHIND_X | width, place + done),
            }
            asked.push(self.0.len());
            self.ask(IS, bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)), [0, 0]);
            (rest, done) = (behind, done + size as u32);
        }
        let put = then(self);
        let end = self.0.len();
        for question in asked {
            if let Some(step) = self.0.get_mut(question) {
                // Texts are short: a jump may leave out 255 steps.
                step.jf = (end - question - 1) as u8;
            }
        }
        put
    }

    /// Where the method stands, X is where the user begins; gives the jump to what looks at that.
    fn method(&mut self, method: &str) -> usize {
        let text = [method, SCHEME].concat();
        self.compare(text.as_bytes(), At::Begin(HEADER), |program| {
            program.put(SET_X, HEADER + text.len() as u32);
            program.jump()
        })
    }

    /// One character of a number, or what ends it: then X is where the host begins, and the jump goes to what looks at that.
    fn digit(&mut self, place: u32) -> Option<usize> {
        self.put(LOAD_BEHIND_X | libc::BPF_B, place);
        let jump = (place > 0).then(|| {
            self.ask(IS, b'@'.into(), [0, 4]);
            self.put(X_TO_A, 0);
            self.put(ADD, place + 1);
            self.put(A_TO_X, 0);
            self.jump()
        });
        self.ask(IS_MORE, NUMBER[1].into(), [1, 0]);
        self.ask(IS_NOT_LESS, NUMBER[0].into(), [1, 0]);
        self.take();
        jump
    }

    /// Gives the jumps to what is done where the host is this one.
    fn host(&mut self, own: &[u8]) -> [usize; 2] {
        let len = own.len() as u32;
        self.compare(own, At::X(0), |program| {
            program.put(LOAD_BEHIND_X | libc::BPF_B, len);
            program.ask(IS, END.into(), [0, 1]);
            [program.jump(), program.compare(PHONE, At::X(len), Self::jump)]
        })
    }

    fn emergency(&mut self, number: &[u8]) {
        let text = [number, b"@"].concat();
        self.compare(&text, At::X(0), Self::take);
    }
}
