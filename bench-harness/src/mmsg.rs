//! Many datagrams by one system call: `recvmmsg` and `sendmmsg` on memory that is laid out once.

use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::null_mut;

use socket2::SockAddr;

/// Room for a batch of datagrams.
///
/// Its parts are on the heap and never grow, so what the headers point to stays where it is.
pub struct Batch {
    bytes: Box<[u8]>,
    room: usize,
    addresses: Box<[libc::sockaddr_storage]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    count: usize,
}

// SAFETY: its pointers lead to memory that it owns itself, which is reached through it alone.
unsafe impl Send for Batch {}

impl Batch {
    /// Room for so many datagrams of so many bytes; longer ones are cut.
    pub fn new(datagrams: usize, room: usize) -> Self {
        // SAFETY: all of these are plain C structures of numbers and pointers, for which zero is valid.
        let (address, header): (libc::sockaddr_storage, libc::mmsghdr) = unsafe { (zeroed(), zeroed()) };
        let mut this = Self {
            bytes: vec![0; datagrams * room].into(),
            room,
            addresses: vec![address; datagrams].into(),
            vectors: vec![libc::iovec { iov_base: null_mut(), iov_len: 0 }; datagrams].into(),
            headers: vec![header; datagrams].into(),
            count: 0,
        };
        let places = this.bytes.chunks_mut(room).zip(&mut this.vectors).zip(&mut this.addresses);
        for (((bytes, vector), address), header) in places.zip(&mut this.headers) {
            vector.iov_base = bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
        }
        this
    }

    /// Receives what there is, up to the whole batch: waits for the first datagram unless the socket does not block.
    ///
    /// # Errors
    /// Those of `recvmmsg`; `WouldBlock` where there is none.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        self.count = 0;
        for (vector, header) in self.vectors.iter_mut().zip(&mut self.headers) {
            vector.iov_len = self.room;
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        let (fd, datagrams) = (socket.as_fd().as_raw_fd(), self.headers.len() as libc::c_uint);
        // SAFETY: each header points to a vector, an address and bytes of this batch, with their true lengths.
        let received = unsafe {
            libc::recvmmsg(fd, self.headers.as_mut_ptr(), datagrams, libc::MSG_WAITFORONE, null_mut())
        };
        self.count = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.count)
    }

    /// The datagrams received last, and where each came from.
    pub fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let received = self.bytes.chunks(self.room).zip(&self.headers[..self.count]).zip(&self.addresses);
        received.filter_map(|((bytes, header), address)| {
            Some((&bytes[..(header.msg_len as usize).min(bytes.len())], from_c(address)?))
        })
    }

    /// Sends on what was received last, at least `pad_to` bytes of each; tells how many the kernel took.
    ///
    /// # Errors
    /// Those of `sendmmsg` for the first of them.
    pub fn send_on(&mut self, socket: &impl AsFd, to: &SockAddr, pad_to: usize) -> io::Result<usize> {
        // SAFETY: it points to a whole `sockaddr_storage`, whatever the family.
        let to_c = unsafe { *to.as_ptr().cast::<libc::sockaddr_storage>() };
        let places = self.vectors.iter_mut().zip(&mut self.headers).zip(&mut self.addresses);
        for ((vector, header), address) in places.take(self.count) {
            vector.iov_len = (header.msg_len as usize).max(pad_to).min(self.room);
            header.msg_hdr.msg_namelen = to.len();
            *address = to_c;
        }
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: as for receiving; lengths are within the room of each.
        let sent = unsafe { libc::sendmmsg(fd, self.headers.as_mut_ptr(), self.count as libc::c_uint, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

fn from_c(address: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let at = std::ptr::from_ref(address);
    match libc::c_int::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says so, and the storage is large enough and aligned for each.
            let v4 = unsafe { &*at.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*at.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_batch_is_received_whole_and_sent_on_padded() {
        let bind = |address| UdpSocket::bind(address).unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (from, between, to) = (bind(address), bind(address), bind(address));
            for number in 0..3u8 {
                from.send_to(&[number; 5], between.local_addr().unwrap()).unwrap();
            }
            let mut batch = Batch::new(8, 100);
            assert_eq!(batch.receive(&between).unwrap(), 3);
            let all: Vec<_> = batch.datagrams().map(|(bytes, from)| (bytes.to_vec(), from)).collect();
            assert_eq!(all[2], (vec![2; 5], from.local_addr().unwrap()));
            let target = to.local_addr().unwrap().into();
            assert_eq!(batch.send_on(&between, &target, 50).unwrap(), 3);
            between.set_nonblocking(true).unwrap();
            assert_eq!(batch.receive(&between).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!(batch.datagrams().count(), 0, "those before are none of this call's");
            let mut bytes = [9; 200];
            assert_eq!(to.recv(&mut bytes).unwrap(), 50);
            assert_eq!(bytes[..5], [0; 5]);
        }
    }
}
