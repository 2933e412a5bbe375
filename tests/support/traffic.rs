//! Messages for measuring: a call as trunks send it.

/// The configuration that measurements use: two listeners, a hundred rules, the last of which matches.
pub fn configuration() -> String {
    let mut text = String::from(
        "[[listener]]\nname = \"public\"\nbind = \"udp:192.0.2.254:5060\"\ntcp = false\n\
         [[listener]]\nname = \"private\"\nbind = \"udp:10.0.0.4:5060\"\ntcp = false\n",
    );
    for n in 0..99 {
        let condition = match n % 3 {
            0 => format!("{{ ruri_user = '^\\*{n}[0-9]+$' }}"),
            1 => format!("{{ ruri_prefix = [\"+99{n}\"], method = [\"INVITE\"] }}"),
            _ => format!("{{ source = [\"198.51.{n}.0/24\"], listener = [\"private\"] }}"),
        };
        text.push_str(&format!(
            "[[route]]\nname = \"r{n}\"\nwhen = {condition}\nto = \"sip:10.0.0.{n}:5060\"\nmode = \"stateless\"\n"
        ));
    }
    text.push_str("[[route]]\nname = \"rest\"\nto = \"request-uri\"\nmode = \"stateless\"\n");
    text
}

/// Addresses of the measuring host.
pub const ADDRESSES: &[&str] = &["192.0.2.254/24", "10.0.0.4/24"];

/// An INVITE of 600 bytes, as a trunk sends it.
pub fn invite(branch: u32) -> Vec<u8> {
    let head = format!(
        "INVITE sip:+33123456789@10.0.0.100:5060;user=phone SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch:010};rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Alice\" <sip:+33987654321@192.0.2.1>;tag=9fxced76sl\r\n\
         To: <sip:+33123456789@10.0.0.100>\r\n\
         Call-ID: 3848276298220188511@192.0.2.1\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:+33987654321@192.0.2.1:5060>\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n\
         Content-Type: application/sdp\r\n"
    );
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 49172 RTP/AVP 8 0\r\na=";
    let body = SIZE - head.len() - "Content-Length: 123\r\n\r\n".len();
    let padding = "x".repeat(body - sdp.len());
    format!("{head}Content-Length: {body}\r\n\r\n{sdp}{padding}").into_bytes()
}

/// The INVITE's size in bytes.
pub const SIZE: usize = 600;

/// What the callee answers to [`invite`] as it was forwarded.
pub fn response(forwarded: &[u8]) -> Vec<u8> {
    let lines = |name| lines(forwarded, name).join("\r\n");
    format!(
        "SIP/2.0 200 OK\r\n{}\r\n{}\r\nFrom: \"Alice\" <sip:+33987654321@192.0.2.1>;tag=9fxced76sl\r\n\
         To: <sip:+33123456789@10.0.0.100>;tag=b\r\nCall-ID: 3848276298220188511@192.0.2.1\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:10.0.0.100>\r\nContent-Length: 0\r\n\r\n",
        lines("Via:"),
        lines("Record-Route:")
    )
    .into_bytes()
}

/// The callee's BYE: its route set is the Record-Route of [`invite`] as it was forwarded.
pub fn bye(forwarded: &[u8], number: u32) -> Vec<u8> {
    let routes = lines(forwarded, "Record-Route:").join("\r\n").replace("Record-Route:", "Route:");
    format!(
        "BYE sip:+33987654321@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.100:5060;branch=z9hG4bKb{number}\r\n\
         {routes}\r\nMax-Forwards: 70\r\nFrom: <sip:+33123456789@10.0.0.100>;tag=b\r\n\
         To: \"Alice\" <sip:+33987654321@192.0.2.1>;tag=9fxced76sl\r\n\
         Call-ID: 3848276298220188511@192.0.2.1\r\nCSeq: {number} BYE\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn lines(message: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(message);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    head.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}
