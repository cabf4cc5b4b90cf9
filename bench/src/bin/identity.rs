//! Who is asking: how fast tokens are checked, and how fast they are given out, beside the crypto library alone and Keycloak.
//!
//! `identity verify SECONDS` checks tokens inside this process on one core: the library's verification of the signature, the
//! full check of a token that was never seen, and one that was. `identity grants SECONDS NAME=URL,CLIENT,SECRET,PID[,REFRESH_TOKEN] …`
//! asks token endpoints for client-credentials grants, or refreshes, over HTTP, alternating. Both print one line of JSON.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use dte_bench::{cpu_seconds, median};
use dte_identity::testing::{TestEngine, TestSetup};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value, json};

const ROUNDS: usize = 3;
const CONNECTIONS: usize = 16;
const AUDIENCE: &str = "https://bench.example";

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let span = Duration::from_secs_f64(arguments.get(1).ok_or("identity verify|grants SECONDS …")?.parse()?);
    match arguments[0].as_str() {
        "verify" => verify(span),
        "grants" => grants(span, &arguments[2..]),
        other => Err(format!("{other}: verify or grants").into()),
    }
}

/// A key of an issuer that the engine trusts.
enum Key {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    fn ec() -> Result<Self, Failure> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(broken)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Ok(Key::Ec(pair.map_err(broken)?))
    }

    /// `ring` makes no RSA keys: OpenSSL does.
    fn rsa() -> Result<Self, Failure> {
        let arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-outform", "DER"];
        let made = Command::new("openssl").args(arguments).stderr(Stdio::null()).output()?;
        // Its versions differ in what they wrap the key in.
        let pair = RsaKeyPair::from_pkcs8(&made.stdout).or_else(|_| RsaKeyPair::from_der(&made.stdout));
        Ok(Key::Rsa(pair.map_err(broken)?))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Key::Ec(_) => "ES256",
            Key::Rsa(_) => "RS256",
        }
    }

    fn jwk(&self) -> Value {
        match self {
            Key::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])})
            }
            Key::Rsa(pair) => {
                let public = public_parts(pair);
                json!({"kty": "RSA", "kid": "k", "n": B64.encode(public.n), "e": B64.encode(public.e)})
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let random = SystemRandom::new();
        match self {
            Key::Ec(pair) => Ok(pair.sign(&random, message).map_err(broken)?.as_ref().to_vec()),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(broken)?;
                Ok(signature)
            }
        }
    }

    /// The library's own verification.
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Key::Ec(pair) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key()).verify(message, signature).is_ok()
            }
            Key::Rsa(pair) => public_parts(pair).verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
        }
    }
}

fn public_parts(pair: &RsaKeyPair) -> RsaPublicKeyComponents<Vec<u8>> {
    RsaPublicKeyComponents::from(pair.public())
}

fn broken(error: impl std::fmt::Display) -> Failure {
    error.to_string().into()
}

fn verify(span: Duration) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut answer = Map::new();
    for key in [Key::ec()?, Key::rsa()?] {
        let figures = runtime.block_on(checks(&key, span))?;
        answer.insert(key.algorithm().to_owned(), figures);
    }
    println!("{}", Value::Object(answer));
    Ok(())
}

/// The figures of one algorithm, median of rounds that alternate.
async fn checks(key: &Key, span: Duration) -> Result<Value, Failure> {
    // The keys are published by a thread of their own, so that nothing else runs on the one that measures.
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let issuer = format!("http://{}", listener.local_addr()?);
    let jwks = json!({"keys": [key.jwk()]}).to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(publish(stream, &jwks));
        }
    });
    let engine = |memory: &str| {
        let config = format!(
            "[identity]\ndecision_memory = '{memory}'\n[[identity.trusted_issuers]]\nissuer = '{issuer}'\njwks_uri = '{issuer}/keys'\n\
             vo = 'twins'\naudiences = ['{AUDIENCE}']\n"
        );
        async move { TestEngine::start_with(TestSetup::config(&config), async |_| Ok(Vec::new())).await }
    };
    // Believing nothing for any time makes every check a full one.
    let (forgetful, mindful) = (engine("0s").await, engine("1m").await);
    let token = token(key, &issuer)?;
    let (message, signature) = token.rsplit_once('.').ok_or("a token")?;
    let raw_signature = B64.decode(signature)?;
    for engine in [&forgetful, &mindful] {
        engine.identity.verify(&token).await.map_err(broken)?;
    }
    let (mut raw, mut full, mut seen, mut full_p99, mut seen_p99) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut count = 0_u64;
        while began.elapsed() < span {
            for _ in 0..64 {
                assert!(key.verify(message.as_bytes(), &raw_signature));
            }
            count += 64;
        }
        raw.push(count as f64 / began.elapsed().as_secs_f64());
        for (engine, rates, tails) in [(&forgetful, &mut full, &mut full_p99), (&mindful, &mut seen, &mut seen_p99)] {
            let began = Instant::now();
            let mut count = 0_u64;
            while began.elapsed() < span {
                for _ in 0..64 {
                    engine.identity.verify(&token).await.map_err(broken)?;
                }
                count += 64;
            }
            rates.push(count as f64 / began.elapsed().as_secs_f64());
            // Reading the clock for every single one takes its own time.
            let mut times = Vec::with_capacity(1 << 20);
            let began = Instant::now();
            while began.elapsed() < span / 4 {
                let one = Instant::now();
                engine.identity.verify(&token).await.map_err(broken)?;
                times.push(one.elapsed().as_nanos() as f64 / 1e3);
            }
            times.sort_by(f64::total_cmp);
            tails.push(times[times.len() * 99 / 100]);
        }
    }
    let (raw, full, seen) = (median(raw), median(full), median(seen));
    Ok(json!({
        "library_verify_per_s": raw, "full_check_per_s": full, "full_check_of_library": full / raw, "seen_before_per_s": seen,
        "full_check_p99_us": median(full_p99), "seen_before_p99_us": median(seen_p99), "token_bytes": token.len(),
    }))
}

fn token(key: &Key, issuer: &str) -> Result<String, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let header = json!({"alg": key.algorithm(), "kid": "k", "typ": "at+jwt"});
    let claims = json!({
        "iss": issuer, "sub": "e21234ba-3b8a-4e32-9c2a-6c1fd1b7a9de", "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 3_600,
        "jti": "0f2c7a52-5b0e-4d6c-9a54-0a1b2c3d4e5f", "wlcg.ver": "1.0", "client_id": "bench",
        "scope": "openid compute.create compute.read storage.read:/twins", "wlcg.groups": ["/twins", "/twins/ops"],
    });
    let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let signature = key.sign(message.as_bytes())?;
    Ok(format!("{message}.{}", B64.encode(signature)))
}

/// Answers one request with the keys.
fn publish(mut stream: TcpStream, jwks: &str) -> Result<(), Failure> {
    let mut buffer = [0; 4_096];
    stream.read(&mut buffer)?;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{jwks}",
        jwks.len()
    )?;
    Ok(())
}

#[derive(Clone)]
struct Server {
    name: String,
    address: String,
    request: Vec<u8>,
    pid: u32,
}

fn grants(span: Duration, servers: &[String]) -> Result<(), Failure> {
    let servers = servers.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    let mut figures: Vec<[Vec<f64>; 3]> = servers.iter().map(|_| Default::default()).collect();
    for server in &servers {
        // A virtual machine that compiles as it goes needs to be warm; so that the comparison is fair, all are.
        load(server, span * 2)?;
    }
    for _ in 0..ROUNDS {
        for (server, found) in servers.iter().zip(&mut figures) {
            let cpu = cpu_seconds(server.pid);
            let (mut times, took) = load(server, span)?;
            let used = cpu_seconds(server.pid) - cpu;
            found[0].push(times.len() as f64 / took);
            found[1].push(times.len() as f64 / used.max(0.01));
            times.sort_by(f64::total_cmp);
            found[2].push(times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN));
        }
    }
    let mut answer = Map::new();
    for (server, found) in servers.iter().zip(figures) {
        let [rate, of_core, p99] = found.map(median);
        answer.insert(server.name.clone(), json!({"grants_per_s": rate, "grants_per_core_s": of_core, "p99_ms": p99}));
    }
    println!("{}", Value::Object(answer));
    Ok(())
}

fn parse(text: &str) -> Result<Server, Failure> {
    let (name, rest) = text.split_once('=').ok_or("NAME=URL,CLIENT,SECRET,PID")?;
    let parts: Vec<&str> = rest.split(',').collect();
    let (url, client, secret, pid, grant) = match parts[..] {
        [url, client, secret, pid] => (url, client, secret, pid, "grant_type=client_credentials".to_owned()),
        [url, client, secret, pid, refresh] => {
            (url, client, secret, pid, format!("grant_type=refresh_token&refresh_token={refresh}"))
        }
        _ => return Err("NAME=URL,CLIENT,SECRET,PID[,REFRESH_TOKEN]".into()),
    };
    let (address, path) = url.strip_prefix("http://").and_then(|url| url.split_once('/')).ok_or("http:// URL")?;
    let body = format!("{grant}&client_id={client}&client_secret={secret}");
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Ok(Server { name: name.to_owned(), address: address.to_owned(), request: request.into_bytes(), pid: pid.parse()? })
}

/// Asks on several connections; how long each answer took in milliseconds, and in how many seconds.
fn load(server: &Server, span: Duration) -> Result<(Vec<f64>, f64), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (server, stop, failed) = (server.clone(), Arc::clone(&stop), Arc::clone(&failed));
            std::thread::spawn(move || -> Result<Vec<f64>, Failure> {
                let mut connection = Connection::open(&server.address)?;
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let one = Instant::now();
                    connection.stream.write_all(&server.request)?;
                    if let Err(error) = connection.answer() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        return Err(error);
                    }
                    times.push(one.elapsed().as_secs_f64() * 1e3);
                }
                Ok(times)
            })
        })
        .collect();
    std::thread::sleep(span);
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| "a connection panicked")??);
    }
    Ok((all, began.elapsed().as_secs_f64()))
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: vec![0; 1 << 16] })
    }

    /// Reads one answer, which must be a token.
    fn answer(&mut self) -> Result<(), Failure> {
        let mut filled = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[filled..])?;
            if count == 0 {
                return Err("the server closed the connection".into());
            }
            filled += count;
            let text = String::from_utf8_lossy(&self.buffer[..filled]);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            let whole = match length {
                Some(length) => body.len() >= length,
                None => body.ends_with("0\r\n\r\n"),
            };
            if !whole {
                continue;
            }
            if !head.starts_with("http/1.1 200") || !body.contains("access_token") {
                return Err(format!("no token: {text}").into());
            }
            return Ok(());
        }
    }
}
