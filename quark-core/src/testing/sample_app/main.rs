//! A small web application to deploy: one file, no dependencies.

/// What this build calls itself; `SAMPLE_VERSION` overrides it.
const VERSION: &str = "1";
/// Whether `/healthz` answers 200; `SAMPLE_HEALTHY=false` overrides it.
const HEALTHY: bool = true;
/// From this request of a user on every tenth one fails, and from ten times as
/// many on `/healthz` does too; 0 for never. `SAMPLE_SICK_AFTER` overrides it.
const SICK_AFTER: u64 = 0;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{env, fs, thread};

const LONGEST_HEAD: u64 = 16 * 1024;
const LONGEST_BODY: u64 = 16 * 1024 * 1024;
const LONGEST_FRAME: u64 = 1024 * 1024;
/// Longer than proxies keep idle connections, so that they close first.
const IDLE: Duration = Duration::from_secs(75);

const HELP: &str = "\
sample-app [OPTION]...
  --serve          serve HTTP on $HOST:$PORT (default; 0.0.0.0:8080 if they are not set)
  --listen PORT    serve on another port than $PORT
  --never-listen   run, but serve nothing
  --ignore-term    go on when told to end by SIGTERM
  --print N        first print `line 1` to `line N`
  --print-env      print the environment, sorted, and end
  --status         print /proc/self/status and end
  --check          ask the instance on $PORT for its health and end with 0 or 1
  --exit CODE      end with this code instead of serving
Routes: / /version /healthz /slow?ms=N /echo (POST) /ws (WebSocket echo)
        /sicken (POST): from now on /healthz answers 500";

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)) {
        Ok(options) => run(&options).unwrap_or_else(|error| fail(1, &error.to_string())),
        Err(message) => fail(2, &message),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    // `println!` and `eprintln!` panic when nobody reads; this program never does.
    let _ = writeln!(io::stderr(), "sample-app: {message}");
    ExitCode::from(code)
}

fn run(options: &Options) -> io::Result<ExitCode> {
    let mut out = io::stdout();
    if options.ignore_term {
        ignore_term();
    }
    for number in 1..=options.print {
        writeln!(out, "line {number}")?;
    }
    match options.mode {
        Mode::PrintEnv => {
            let variables: BTreeMap<_, _> = env::vars_os().collect();
            for (key, value) in variables {
                let value = value.to_string_lossy().replace('\n', "\\n");
                writeln!(out, "{}={value}", key.to_string_lossy())?;
            }
        }
        Mode::Status => out.write_all(&fs::read("/proc/self/status")?)?,
        Mode::Exit(code) => return Ok(ExitCode::from(code)),
        Mode::Check => return check(options.port()?),
        Mode::NeverListen => loop {
            thread::park();
        },
        Mode::Serve => serve(options.port()?, &mut out)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The standard library cannot set what a signal does, so this one calls C.
fn ignore_term() {
    const SIGTERM: i32 = 15;
    const SIG_IGN: usize = 1;
    unsafe extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
    }
    // SAFETY: `SIG_IGN` is no function, so no code of ours runs in a handler.
    unsafe {
        signal(SIGTERM, SIG_IGN);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Serve,
    NeverListen,
    PrintEnv,
    Status,
    Check,
    Exit(u8),
}

#[derive(Debug)]
struct Options {
    mode: Mode,
    listen: Option<u16>,
    ignore_term: bool,
    print: u64,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { mode: Mode::Serve, listen: None, ignore_term: false, print: 0 };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--serve" => options.mode = Mode::Serve,
                "--never-listen" => options.mode = Mode::NeverListen,
                "--print-env" => options.mode = Mode::PrintEnv,
                "--status" => options.mode = Mode::Status,
                "--check" => options.mode = Mode::Check,
                "--ignore-term" => options.ignore_term = true,
                "--listen" => options.listen = Some(number(&argument, arguments.next())?),
                "--print" => options.print = number(&argument, arguments.next())?,
                "--exit" => options.mode = Mode::Exit(number(&argument, arguments.next())?),
                _ => return Err(format!("`{argument}` is not known here\n{HELP}")),
            }
        }
        Ok(options)
    }

    fn port(&self) -> io::Result<u16> {
        match (self.listen, env::var("PORT")) {
            (Some(port), _) => Ok(port),
            (None, Ok(text)) => text.parse().map_err(|_| io::Error::other(format!("PORT is `{text}`, not a port"))),
            (None, Err(_)) => Ok(8080),
        }
    }
}

fn number<T: std::str::FromStr>(option: &str, value: Option<String>) -> Result<T, String> {
    value.and_then(|text| text.parse().ok()).ok_or_else(|| format!("`{option}` needs a number"))
}

/// Asks for the health as an orchestrator would, for images without `curl`.
fn check(port: u16) -> io::Result<ExitCode> {
    let limit = Duration::from_secs(5);
    let mut connection = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
    connection.set_read_timeout(Some(limit))?;
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.take(LONGEST_HEAD).read_to_string(&mut answer)?;
    Ok(if answer.starts_with("HTTP/1.1 200 ") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Sample {
    version: String,
    healthy: AtomicBool,
    sick_after: u64,
    /// The requests of users so far.
    requests: AtomicU64,
    instance: String,
}

impl Sample {
    fn from_env() -> Self {
        let pid = std::process::id();
        Self {
            version: env::var("SAMPLE_VERSION").unwrap_or_else(|_| VERSION.to_owned()),
            healthy: env::var("SAMPLE_HEALTHY").map_or(HEALTHY, |text| text == "true" || text == "1").into(),
            sick_after: env::var("SAMPLE_SICK_AFTER").ok().and_then(|text| text.parse().ok()).unwrap_or(SICK_AFTER),
            requests: AtomicU64::new(0),
            // In a container the process id says nothing, but the host name does.
            instance: env::var("HOSTNAME").map_or_else(|_| pid.to_string(), |host| format!("{host}-{pid}")),
        }
    }
}

impl Sample {
    /// Whether it answers as it should; who asks for its health is no user.
    fn is_well(&self, path: &str) -> bool {
        let Some(healthy_until) = self.sick_after.checked_mul(10).filter(|until| *until > 0) else {
            return path != "/healthz" || self.healthy.load(Ordering::Relaxed);
        };
        if path == "/healthz" {
            return self.healthy.load(Ordering::Relaxed) && self.requests.load(Ordering::Relaxed) < healthy_until;
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        number < self.sick_after || number % 10 != 0
    }
}

fn serve(port: u16, out: &mut impl Write) -> io::Result<()> {
    let host = env::var("HOST").unwrap_or_else(|_| "0.0.0.0".to_owned());
    let host: IpAddr = host.parse().map_err(|_| io::Error::other(format!("HOST is `{host}`, not an IP address")))?;
    let listener = TcpListener::bind((host, port))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {host}:{port}: {error}")))?;
    writeln!(out, "listening on {}", listener.local_addr()?.port())?;
    out.flush()?;
    let sample = Arc::new(Sample::from_env());
    for connection in listener.incoming() {
        let Ok(connection) = connection else {
            // Out of file descriptors, most likely: others have to end first.
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        let sample = Arc::clone(&sample);
        // A thread that cannot be made drops, and so closes, the connection.
        let _ = thread::Builder::new().stack_size(128 * 1024).spawn(move || {
            // A connection that breaks concerns its client only.
            let _ = converse(&sample, &connection);
        });
    }
    Ok(())
}

/// Answers requests on one connection until one side wants to end it.
fn converse(sample: &Sample, connection: &TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(IDLE))?;
    connection.set_write_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(connection);
    let mut writer = connection;
    loop {
        let request = match Request::read(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(Refused::Broken(error)) => return Err(error),
            Err(Refused::Status(status)) => return Answer::status(status).write(&mut writer, false, true),
        };
        if request.path == "/ws" {
            return match websocket_key(&request) {
                Some(key) => {
                    write!(
                        writer,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: {}\r\n\r\n",
                        accept_key(key)
                    )?;
                    echo_frames(&mut reader, &mut writer)
                }
                None => Answer::status("426 Upgrade Required").write(&mut writer, false, true),
            };
        }
        let body = match request.read_body(&mut reader, &mut writer) {
            Ok(body) => body,
            Err(Refused::Broken(error)) => return Err(error),
            Err(Refused::Status(status)) => return Answer::status(status).write(&mut writer, false, true),
        };
        let close = request.closes();
        respond(sample, &request, body).write(&mut writer, request.method == "HEAD", close)?;
        if close {
            return Ok(());
        }
    }
}

fn respond(sample: &Sample, request: &Request, body: Vec<u8>) -> Answer {
    if !sample.is_well(&request.path) {
        return Answer::text("500 Internal Server Error", "unhealthy\n".to_owned());
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("GET" | "HEAD", "/") => {
            Answer::text("200 OK", format!("version {} on instance {}\n", sample.version, sample.instance))
        }
        ("GET" | "HEAD", "/version") => Answer::text("200 OK", sample.version.clone()),
        ("GET" | "HEAD", "/healthz") => Answer::text("200 OK", "healthy\n".to_owned()),
        ("GET" | "HEAD", "/slow") => {
            let wanted = request.query.split('&').find_map(|pair| pair.strip_prefix("ms="));
            match wanted.unwrap_or("5000").parse::<u64>() {
                Ok(ms) if ms <= 600_000 => {
                    thread::sleep(Duration::from_millis(ms));
                    Answer::text("200 OK", format!("version {} after {ms} ms\n", sample.version))
                }
                _ => Answer::status("400 Bad Request"),
            }
        }
        ("POST", "/sicken") => {
            sample.healthy.store(false, Ordering::Relaxed);
            Answer::text("200 OK", "unhealthy\n".to_owned())
        }
        ("POST", "/echo") => Answer { status: "200 OK", kind: "application/octet-stream", body },
        (_, "/" | "/version" | "/healthz" | "/slow" | "/echo" | "/sicken") => Answer::status("405 Method Not Allowed"),
        _ => Answer::status("404 Not Found"),
    }
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: Vec<u8>,
}

impl Answer {
    fn text(status: &'static str, text: String) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: text.into_bytes() }
    }

    fn status(status: &'static str) -> Self {
        Self::text(status, format!("{status}\n"))
    }

    fn write(&self, writer: &mut impl Write, head_only: bool, close: bool) -> io::Result<()> {
        let mut bytes = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n",
            self.status,
            self.kind,
            self.body.len(),
            if close { "close" } else { "keep-alive" },
        )
        .into_bytes();
        if !head_only {
            bytes.extend_from_slice(&self.body);
        }
        writer.write_all(&bytes)
    }
}

/// Why a request is not answered as asked.
#[derive(Debug)]
enum Refused {
    Broken(io::Error),
    Status(&'static str),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

const BAD: Refused = Refused::Status("400 Bad Request");
const TOO_LARGE: Refused = Refused::Status("413 Content Too Large");

#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    query: String,
    one_zero: bool,
    headers: Vec<(String, String)>,
}

impl Request {
    /// Reads the head of a request; `None` if the client has no more.
    fn read(reader: &mut impl BufRead) -> Result<Option<Self>, Refused> {
        let mut head = reader.take(LONGEST_HEAD);
        let mut line = read_line(&mut head)?;
        while line.as_deref() == Some("") {
            // Empty lines before a request are to be ignored.
            line = read_line(&mut head)?;
        }
        let Some(line) = line else {
            return if head.limit() == 0 { Err(Refused::Status("414 URI Too Long")) } else { Ok(None) };
        };
        let mut parts = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BAD);
        };
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || !target.starts_with('/') {
            return Err(BAD);
        }
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut head)?.ok_or(Refused::Status("431 Request Header Fields Too Large"))?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or(BAD)?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Some(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            one_zero: version == "HTTP/1.0",
            headers,
        }))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn lists(&self, name: &str, token: &str) -> bool {
        self.header(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    }

    fn closes(&self) -> bool {
        self.lists("connection", "close") || self.one_zero && !self.lists("connection", "keep-alive")
    }

    fn read_body(&self, reader: &mut impl BufRead, writer: &mut impl Write) -> Result<Vec<u8>, Refused> {
        let length = match (self.header("transfer-encoding"), self.header("content-length")) {
            (None, None) => return Ok(Vec::new()),
            (None, Some(text)) => Some(text.parse::<u64>().map_err(|_| BAD)?),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => None,
            // Both at once is how requests are smuggled.
            _ => return Err(BAD),
        };
        if length.is_some_and(|length| length > LONGEST_BODY) {
            return Err(TOO_LARGE);
        }
        if self.lists("expect", "100-continue") {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = Vec::new();
        match length {
            Some(length) => read_exactly(reader, length, &mut body)?,
            None => read_chunks(reader, &mut body)?,
        }
        Ok(body)
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result<(), Refused> {
    loop {
        let line = read_line(&mut reader.take(LONGEST_HEAD))?.ok_or(BAD)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| BAD)?;
        if size > LONGEST_BODY - body.len() as u64 {
            return Err(TOO_LARGE);
        }
        if size == 0 {
            break;
        }
        read_exactly(reader, size, body)?;
        if read_line(&mut reader.take(2))?.as_deref() != Some("") {
            return Err(BAD);
        }
    }
    // Trailers are read and dropped.
    let mut trailers = reader.take(LONGEST_HEAD);
    while !read_line(&mut trailers)?.ok_or(BAD)?.is_empty() {}
    Ok(())
}

fn read_exactly(reader: &mut impl BufRead, length: u64, into: &mut Vec<u8>) -> Result<(), Refused> {
    match reader.take(length).read_to_end(into)? as u64 {
        read if read == length => Ok(()),
        _ => Err(Refused::Broken(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// One line without its end; `None` at the end of the input or of the limit.
fn read_line(reader: &mut impl BufRead) -> Result<Option<String>, Refused> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map(Some).map_err(|_| BAD)
}

fn websocket_key(request: &Request) -> Option<&str> {
    let asked = request.method == "GET"
        && request.lists("upgrade", "websocket")
        && request.lists("connection", "upgrade")
        && request.header("sec-websocket-version") == Some("13");
    request.header("sec-websocket-key").filter(|_| asked)
}

/// What the handshake answers to a key: RFC 6455, section 1.3.
fn accept_key(key: &str) -> String {
    base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
}

/// Sends each frame back until the client closes: RFC 6455, section 5.
fn echo_frames(reader: &mut impl Read, writer: &mut impl Write) -> io::Result<()> {
    const CLOSE: u8 = 0x8;
    const PING: u8 = 0x9;
    const PONG: u8 = 0xA;
    loop {
        let mut head = [0; 2];
        reader.read_exact(&mut head)?;
        let [first, second] = head;
        let opcode = first & 0x0F;
        let length = match second & 0x7F {
            126 => u64::from(u16::from_be_bytes(read_array(reader)?)),
            127 => u64::from_be_bytes(read_array(reader)?),
            short => u64::from(short),
        };
        let masked = second & 0x80 != 0;
        let control_too_long = opcode >= CLOSE && (length > 125 || first & 0x80 == 0);
        if !masked || first & 0x70 != 0 || control_too_long || !matches!(opcode, 0..=2 | CLOSE | PING | PONG) {
            return write_frame(writer, 0x80 | CLOSE, &1002_u16.to_be_bytes());
        }
        if length > LONGEST_FRAME {
            return write_frame(writer, 0x80 | CLOSE, &1009_u16.to_be_bytes());
        }
        let mask: [u8; 4] = read_array(reader)?;
        let mut payload = Vec::new();
        if reader.take(length).read_to_end(&mut payload)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        match opcode {
            CLOSE => return write_frame(writer, 0x80 | CLOSE, &payload),
            PING => write_frame(writer, 0x80 | PONG, &payload)?,
            PONG => {}
            // A part of a message goes back as the same part.
            _ => write_frame(writer, first, &payload)?,
        }
    }
}

fn read_array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write_frame(writer: &mut impl Write, first: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    writer.write_all(&frame)
}

/// SHA-1 (RFC 3174), which the WebSocket handshake asks for and nothing else here.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let at = padded.len() - 8;
    padded.splice(at.., (message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        for i in 16..80 {
            words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (i, word) in words.iter().enumerate() {
            let (mixed, constant) = match i {
                0..20 => (b & c | !b & d, 0x5A82_7999),
                20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
                40..60 => (b & c | b & d | c & d, 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(part);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = (0..3).fold(0_usize, |word, i| word << 8 | usize::from(group.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS[word >> (18 - 6 * i) & 0x3F];
            text.push(if i <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_answers_as_in_rfc_6455() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn sha1_agrees_with_rfc_3174() {
        let hex = |digest: [u8; 20]| digest.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex(sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(sha1(long)), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        assert_eq!(hex(sha1(&[b'a'; 64])), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    }

    #[test]
    fn base64_pads() {
        assert_eq!([&b""[..], b"f", b"fo", b"foo", b"foob"].map(base64), ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn frames_come_back_unmasked() {
        // "Hello" as masked in RFC 6455, section 5.7, then a close.
        let input = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58, 0x88, 0x80, 0, 0, 0, 0];
        let mut output = Vec::new();
        echo_frames(&mut &input[..], &mut output).unwrap();
        assert_eq!(output, [0x81, 0x05, b'H', b'e', b'l', b'l', b'o', 0x88, 0x00]);
    }

    #[test]
    fn an_unmasked_frame_is_refused() {
        let mut output = Vec::new();
        echo_frames(&mut &[0x81, 0x01, b'x'][..], &mut output).unwrap();
        assert_eq!(output, [0x88, 0x02, 0x03, 0xEA]);
    }

    #[test]
    fn bodies_are_read_in_both_codings() {
        let body = |text: &str| {
            let mut reader = text.as_bytes();
            let request = Request::read(&mut reader).unwrap().unwrap();
            request.read_body(&mut reader, &mut Vec::new()).map(|body| String::from_utf8(body).unwrap())
        };
        assert_eq!(body("POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcd").unwrap(), "abc");
        let chunked =
            "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: t\r\n\r\n";
        assert_eq!(body(chunked).unwrap(), "abcde");
        assert!(matches!(body("POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"), Err(Refused::Status(_))));
        assert!(matches!(
            body("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(Refused::Status(_))
        ));
    }

    #[test]
    fn an_endless_head_is_refused() {
        let endless = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
        assert!(matches!(Request::read(&mut endless.as_bytes()), Err(Refused::Status(_))));
    }

    #[test]
    fn options_combine() {
        let parse = |text: &str| Options::parse(text.split_whitespace().map(str::to_owned));
        let options = parse("--print 3 --ignore-term --exit 7").unwrap();
        assert_eq!((options.mode, options.print, options.ignore_term), (Mode::Exit(7), 3, true));
        assert_eq!(parse("").unwrap().mode, Mode::Serve);
        assert!(parse("--exit 256").is_err() && parse("--frob").is_err() && parse("--listen").is_err());
    }
}
