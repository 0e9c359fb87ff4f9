use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
};

/// A mail that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Who it is from, by the envelope.
    pub from: String,
    /// Who it is for, by the envelope.
    pub to: Vec<String>,
    /// Headers and body as they came, with line ends of `\n`.
    pub text: String,
    /// Whether it came by TLS.
    pub secured: bool,
    /// What was said to sign in with (base64); empty for nothing.
    pub login: String,
}

impl Received {
    /// A header's value, unfolded; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let head = self.text.split("\n\n").next().unwrap_or_default();
        let unfolded = head.replace("\n ", " ").replace("\n\t", " ");
        unfolded
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    }
}

impl Received {
    /// The body, decoded where it came as quoted-printable (RFC 2045).
    #[must_use]
    pub fn body(&self) -> String {
        let body = self.text.split_once("\n\n").map_or("", |(_, body)| body);
        if self.header("Content-Transfer-Encoding") != "quoted-printable" {
            return body.to_owned();
        }
        let joined = body.replace("=\n", "");
        let mut out = Vec::new();
        let mut rest = joined.as_bytes();
        while let Some((byte, after)) = rest.split_first() {
            let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(decoded) if *byte == b'=' => {
                    out.push(decoded);
                    rest = &after[2..];
                }
                _ => {
                    out.push(*byte);
                    rest = after;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

struct State {
    received: Mutex<Vec<Received>>,
    /// Answer to `RCPT TO` when it is not 250.
    refuses: AtomicU16,
    stop: AtomicBool,
    /// Offers STARTTLS with this.
    tls: Option<Arc<rustls::ServerConfig>>,
}

/// A mail server on loopback that keeps what it gets (RFC 5321, as much of it as a client needs); gone on drop.
pub struct Smtp {
    state: Arc<State>,
    address: SocketAddr,
    serving: Option<std::thread::JoinHandle<()>>,
}

impl Smtp {
    /// Starts one on a free port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap())
    }

    /// Starts one that offers STARTTLS as `localhost`; its certificate in PEM stands beside it.
    #[must_use]
    pub fn start_with_tls() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let started = Self::start_as("127.0.0.1:0".parse().unwrap(), Some(Arc::new(tls)));
        (started, made.cert.pem())
    }

    /// Starts one on a port: the same after a stop.
    #[must_use]
    pub fn start_on(address: SocketAddr) -> Self {
        Self::start_as(address, None)
    }

    fn start_as(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            received: Mutex::default(),
            refuses: AtomicU16::new(0),
            stop: AtomicBool::new(false),
            tls,
        });
        let serving = state.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stop.load(Ordering::SeqCst) {
                    return;
                }
                let (state, Ok(stream)) = (serving.clone(), stream) else {
                    continue;
                };
                // A client that hangs up ends its own conversation alone.
                std::thread::spawn(move || drop(serve(&state, stream)));
            }
        });
        Self {
            state,
            address,
            serving: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// Answers every recipient with this status from now on; 0 to take them again.
    pub fn refuse_with(&self, status: u16) {
        self.state.refuses.store(status, Ordering::SeqCst);
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it ends; the port is free then.
        drop(TcpStream::connect(self.address));
        if let Some(serving) = self.serving.take() {
            drop(serving.join());
        }
    }
}

fn address(line: &str) -> String {
    let inner = line.split_once('<').map_or("", |(_, rest)| rest);
    inner.split('>').next().unwrap_or_default().to_owned()
}

fn serve(state: &State, stream: TcpStream) -> std::io::Result<()> {
    let Some(stream) = talk(state, stream, false)? else {
        return Ok(());
    };
    let Some(tls) = &state.tls else { return Ok(()) };
    let secured = rustls::ServerConnection::new(tls.clone()).map_err(std::io::Error::other)?;
    talk(state, rustls::StreamOwned::new(secured, stream), true).map(drop)
}

/// One conversation; gives the connection back where it is to be secured.
fn talk<S: Read + Write>(state: &State, stream: S, secured: bool) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    let say = |stream: &mut BufReader<S>, text: &str| {
        stream.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
        stream.get_mut().flush()
    };
    if !secured {
        say(&mut stream, "220 test ESMTP")?;
    }
    let (mut from, mut to, mut login) = (String::new(), Vec::new(), String::new());
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let verb = line.split_whitespace().next().unwrap_or_default().to_uppercase();
        match verb.as_str() {
            "EHLO" if secured => say(&mut stream, "250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN")?,
            "EHLO" if state.tls.is_some() => say(&mut stream, "250-test\r\n250-8BITMIME\r\n250 STARTTLS")?,
            "EHLO" => say(&mut stream, "250-test\r\n250 8BITMIME")?,
            "STARTTLS" if !secured && state.tls.is_some() => {
                say(&mut stream, "220 go on")?;
                return Ok(Some(stream.into_inner()));
            }
            "AUTH" => {
                login = line.split_whitespace().nth(2).unwrap_or_default().to_owned();
                say(&mut stream, "235 welcome")?;
            }
            "HELO" | "NOOP" => say(&mut stream, "250 ok")?,
            "RSET" => {
                to.clear();
                say(&mut stream, "250 ok")?;
            }
            "MAIL" => {
                from = address(&line);
                say(&mut stream, "250 ok")?;
            }
            "RCPT" => match state.refuses.load(Ordering::SeqCst) {
                0 => {
                    to.push(address(&line));
                    say(&mut stream, "250 ok")?;
                }
                status => say(&mut stream, &format!("{status} not now"))?,
            },
            "DATA" => {
                say(&mut stream, "354 go on")?;
                let mut text = String::new();
                loop {
                    line.clear();
                    if stream.read_line(&mut line)? == 0 {
                        return Ok(None);
                    }
                    let plain = line.trim_end_matches(['\r', '\n']);
                    if plain == "." {
                        break;
                    }
                    text.push_str(plain.strip_prefix('.').unwrap_or(plain));
                    text.push('\n');
                }
                let mail = Received {
                    from: from.clone(),
                    to: std::mem::take(&mut to),
                    text,
                    secured,
                    login: login.clone(),
                };
                state.received.lock().unwrap().push(mail);
                say(&mut stream, "250 taken")?;
            }
            "QUIT" => {
                say(&mut stream, "221 bye")?;
                return Ok(None);
            }
            _ => say(&mut stream, "502 unknown")?,
        }
    }
}
