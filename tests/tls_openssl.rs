//! Our TLS against OpenSSL's, over loopback: what both make of the RFCs is the same.

#[allow(dead_code)]
#[path = "support/pki.rs"]
mod pki;
#[allow(dead_code)]
#[path = "support/program.rs"]
mod program;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pki::{Authority, Pair};
use program::{LIMIT, Program};
use tempfile::TempDir;
use viaduct::tls::{
    Authorities, Client, ClientCertificates, Credentials, Failure, PeerName, Server, Session, State,
    system_clock,
};

const REQUEST: &str = "OPTIONS sip:a.example SIP/2.0\r\n\r\n";
const ANSWER: &str = "SIP/2.0 200 OK\r\n\r\n";

/// An authority, certificates by it in files, and ours.
struct World {
    folder: TempDir,
    authority: Authority,
    server: Pair,
    client: Pair,
}

impl World {
    fn new() -> Self {
        let authority = Authority::new("A");
        let (server, client) =
            (authority.issue(&["sip:a.example", "a.example"]), authority.issue(&["client.example"]));
        let world = Self { folder: TempDir::new().expect("a folder"), authority, server, client };
        let files = [
            ("ca.pem", world.authority.pem()),
            ("server.crt", world.server.certificate.clone()),
            ("server.key", world.server.key.clone()),
            ("client.crt", world.client.certificate.clone()),
            ("client.key", world.client.key.clone()),
            ("request", REQUEST.to_owned()),
        ];
        for (name, text) in files {
            fs::write(world.file(name), text).expect("written");
        }
        world
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn trusted(&self) -> Authorities {
        Authorities::from_pem(self.authority.pem().as_bytes()).expect("authorities")
    }

    fn server(&self, clients: &ClientCertificates) -> Server {
        Server::new(&credentials(&self.server), &[], clients, system_clock()).expect("a server")
    }

    fn client(&self) -> Client {
        Client::new(&self.trusted(), Some(&credentials(&self.client)), system_clock()).expect("a client")
    }

    /// `openssl s_client` with these arguments sends the request to our server; how that ends, and what the client
    /// shows.
    fn served(&self, server: &Server, arguments: &[&str]) -> (Result<Talk, Failure>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-connect", &address, "-ign_eof", "-servername", "a.example"])
            .args(arguments);
        command.current_dir(self.folder.path()).stdin(File::open(self.file("request")).expect("a request"));
        let (out, err) = (self.file("out"), self.file("err"));
        command.stdout(File::create(&out).expect("a file")).stderr(File::create(&err).expect("a file"));
        let mut program = Program::start(&mut command).expect("openssl is there");
        let (stream, _) = listener.accept().expect("it connects");
        let talk = Talk::hold(Session::accept(server).expect("a server"), Vec::new(), stream, Some(ANSWER));
        program.wait(LIMIT).expect("it ends");
        let shown = |path: &Path| String::from_utf8_lossy(&fs::read(path).expect("output")).into_owned();
        (talk, shown(&out) + &shown(&err))
    }
}

fn credentials(pair: &Pair) -> Credentials {
    Credentials::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).expect("credentials")
}

/// A session that has ended, and what came by it.
struct Talk {
    session: Session,
    received: String,
}

impl Talk {
    /// Until something with an empty line has come, which `answer` answers, and the peer has closed.
    fn hold(
        mut session: Session,
        mut out: Vec<u8>,
        mut stream: TcpStream,
        mut answer: Option<&str>,
    ) -> Result<Self, Failure> {
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut plain = Vec::new();
        loop {
            // Whoever refuses us may be gone before it is written.
            let _ = stream.write_all(&out);
            out.clear();
            let mut bytes = [0; 4_096];
            let read = match stream.read(&mut bytes) {
                Ok(0) => break session.end()?,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break session.end()?,
                Err(error) => panic!("{error}"),
            };
            let received = session.receive(&bytes[..read], &mut plain, &mut out);
            let _ = stream.write_all(&std::mem::take(&mut out));
            if received? == State::PeerClosed {
                break;
            }
            if plain.ends_with(b"\n")
                && let Some(answer) = answer.take()
            {
                session.send(answer.as_bytes(), &mut out).expect("sent");
                session.close(&mut out);
            }
        }
        Ok(Self { session, received: String::from_utf8(plain).expect("text") })
    }
}

#[test]
fn its_client_talks_to_our_server() {
    let world = World::new();
    let server = world.server(&ClientCertificates::Off);
    for version in ["-tls1_2", "-tls1_3"] {
        let verify = ["-CAfile", "ca.pem", "-verify_return_error", "-verify_hostname", "a.example", version];
        let (talk, shown) = world.served(&server, &verify);
        let talk = talk.unwrap_or_else(|failure| panic!("{failure}\n{shown}"));
        assert_eq!(talk.received, REQUEST);
        assert!(shown.contains("Verify return code: 0 (ok)") && shown.contains(ANSWER.trim_end()), "{shown}");
        let expected = if version == "-tls1_2" { "TLSv1.2" } else { "TLSv1.3" };
        assert_eq!(talk.session.version(), Some(expected));
    }
}

#[test]
fn its_client_is_refused_and_refuses() {
    let world = World::new();
    let required = world.server(&ClientCertificates::Required(world.trusted()));
    let (talk, shown) = world.served(&required, &["-CAfile", "ca.pem"]);
    assert_eq!(talk.err(), Some(Failure::NoCertificate), "{shown}");
    assert!(shown.contains("certificate required"), "{shown}");
    let own = ["-CAfile", "ca.pem", "-cert", "client.crt", "-key", "client.key"];
    let (talk, shown) = world.served(&required, &own);
    let identities = talk.unwrap_or_else(|failure| panic!("{failure}\n{shown}")).session.identities();
    assert_eq!(identities.to_string(), "client.example");

    let off = world.server(&ClientCertificates::Off);
    let strangers = ["-verify_return_error", "-CAfile", "client.crt"];
    let (talk, _) = world.served(&off, &strangers);
    assert_eq!(talk.err(), Some(Failure::Refused("unknown_ca".to_owned())));
    let old = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let (talk, shown) = world.served(&off, &old);
    assert_eq!(talk.err(), Some(Failure::Version), "{shown}");
}

#[test]
fn its_client_resumes_our_sessions_but_none_in_which_it_was_asked_for_a_certificate() {
    let world = World::new();
    for (certificates, resumes) in
        [(ClientCertificates::Off, true), (ClientCertificates::Optional(world.trusted()), false)]
    {
        let server = world.server(&certificates);
        for version in ["-tls1_2", "-tls1_3"] {
            let own = ["-CAfile", "ca.pem", "-cert", "client.crt", "-key", "client.key", version];
            // There is none of the run before.
            let _ = std::fs::remove_file(world.file("session"));
            let talks = |session: &str| {
                let (talk, shown) = world.served(&server, &[&own[..], &[session, "session"]].concat());
                talk.unwrap_or_else(|failure| panic!("{failure}\n{shown}")).session
            };
            assert!(!talks("-sess_out").is_resumed(), "{version}");
            if !world.file("session").exists() {
                assert!(!resumes, "{version}: it was given no session");
                continue;
            }
            let again = talks("-sess_in");
            assert_eq!(again.is_resumed(), resumes, "{version}");
            let name = if resumes { "" } else { "client.example" };
            assert_eq!(again.identities().to_string(), name, "{version}");
        }
    }
}

/// `openssl s_server` that sends each line back, reversed.
fn reversing(world: &World, arguments: &[&str]) -> (Program, String) {
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", "127.0.0.1:0", "-rev", "-cert", "server.crt", "-key", "server.key"]);
    command.args(arguments).current_dir(world.folder.path()).stdin(Stdio::null());
    let err = File::create(world.file("err")).expect("a file");
    let mut program = Program::start(command.stdout(Stdio::piped()).stderr(err)).expect("openssl is there");
    let mut lines = BufReader::new(program.0.stdout.take().expect("its output")).lines();
    let address = lines.find_map(|line| line.ok()?.strip_prefix("ACCEPT ").map(str::to_owned));
    // Its output is read to its end, so that it does not wait for us.
    std::thread::spawn(move || lines.for_each(drop));
    (program, address.expect("it listens"))
}

/// How our client, which wants `peer`, and a server there get along.
fn asked(world: &World, address: &str, peer: &str) -> Result<Talk, Failure> {
    let stream = TcpStream::connect(address).expect("a connection");
    let mut out = Vec::new();
    let name = PeerName::new(peer).expect("a name");
    let mut session = Session::connect(&world.client(), &name, &mut out)?;
    let mut plain = Vec::new();
    let mut writer = stream.try_clone().expect("a stream");
    writer.write_all(&out).expect("written");
    while session.state() == State::Handshaking {
        out.clear();
        let mut bytes = [0; 4_096];
        let read = (&stream).read(&mut bytes).expect("read");
        let received = session.receive(&bytes[..read], &mut plain, &mut out);
        writer.write_all(&out).expect("written");
        received?;
    }
    out.clear();
    session.send(b"SNOITPO\n", &mut out).expect("sent");
    Talk::hold(session, out, stream, Some("Q\n"))
}

#[test]
fn our_client_talks_to_its_server() {
    let world = World::new();
    for version in ["-tls1_2", "-tls1_3"] {
        for asks in [&[][..], &["-Verify", "1", "-CAfile", "ca.pem", "-verify_return_error"]] {
            let (_program, address) = reversing(&world, &[asks, &[version]].concat());
            let talk = asked(&world, &address, "a.example").unwrap_or_else(|failure| panic!("{failure}"));
            assert!(talk.received.starts_with("OPTIONS\n"), "{}", talk.received);
            assert_eq!(talk.session.verified_peer().map(ToString::to_string).as_deref(), Some("a.example"));
            let failure = asked(&world, &address, "b.example").err();
            let found = vec!["a.example".to_owned()];
            assert_eq!(failure, Some(Failure::WrongName { wanted: "b.example".to_owned(), found }));
        }
    }
}
