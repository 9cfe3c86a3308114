//! A registry that lies, breaks off and never ends. Each is refused with words, within its time, and leaves nothing.

use crate::images::{Image, MANIFEST, Pack, descriptor, dir, file, of_items, tar};
use crate::stores::{limits, place};
use disk::files;
use oci::{Limits, Options, resolve};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
struct Asked {
    path: String,
    /// Only the head of the answer is asked for.
    is_head: bool,
    host: String,
    authorization: Option<String>,
    from: usize,
    /// What was posted.
    form: String,
}

enum Reply {
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// As many bytes are promised, and fewer come.
    Cut(u16, Vec<u8>, usize),
    /// The same bytes again and again, in chunks.
    Endless,
    /// A byte now and then.
    Drops,
    /// Headers behind the last chunk, without end.
    Trailers,
    Silence,
}

type Act = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

struct Registry {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

fn serve(act: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Registry {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let (act, kept): (Arc<Act>, _) = (Arc::new(act), asked.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (act, kept) = (act.clone(), kept.clone());
            std::thread::spawn(move || drop(answer(stream, &*act, &kept)));
        }
    });
    Registry { at, asked }
}

fn answer(mut stream: TcpStream, act: &Act, kept: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = Vec::new();
    lines.read_until(b'\n', &mut line)?;
    let first = String::from_utf8_lossy(&line).into_owned();
    if !["GET ", "HEAD ", "POST "].iter().any(|verb| first.starts_with(verb)) {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((key, value)) = line.split_once(':') {
            headers.insert(key.to_ascii_lowercase(), value.trim().to_string());
        }
    }
    let mut form = vec![0; headers.get("content-length").map_or(0, |n| n.parse().unwrap())];
    lines.read_exact(&mut form)?;
    let from = headers.get("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0);
    let is_head = first.starts_with("HEAD ");
    let one = Asked {
        is_head,
        path: first.split(' ').nth(1).unwrap().to_string(),
        host: headers.remove("host").unwrap_or_default(),
        authorization: headers.remove("authorization"),
        from,
        form: String::from_utf8(form).unwrap(),
    };
    let count = {
        let mut kept = kept.lock().unwrap();
        kept.push(one.clone());
        kept.iter().filter(|a| a.path == one.path).count()
    };
    let head = |status: u16, more: &str| format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{more}\r\n");
    match act(&one, count) {
        Reply::Whole(status, headers, body) => {
            let mut more = format!("Content-Length: {}\r\n", body.len());
            headers.iter().for_each(|(k, v)| more.push_str(&format!("{k}: {v}\r\n")));
            stream.write_all(head(status, &more).as_bytes())?;
            if is_head { Ok(()) } else { stream.write_all(&body) }
        }
        Reply::Cut(status, body, bytes) => {
            stream.write_all(head(status, &format!("Content-Length: {}\r\n", body.len())).as_bytes())?;
            stream.write_all(&body[..bytes.min(body.len())])
        }
        Reply::Endless => {
            stream.write_all(head(200, "Transfer-Encoding: chunked\r\n").as_bytes())?;
            // It ends when the client has had enough.
            loop {
                stream.write_all(b"10000\r\n")?;
                stream.write_all(&[b' '; 0x10000])?;
                stream.write_all(b"\r\n")?;
            }
        }
        Reply::Drops => {
            stream.write_all(head(200, "Content-Length: 100000\r\n").as_bytes())?;
            for _ in 0..100 {
                stream.write_all(b" ")?;
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        }
        Reply::Trailers => {
            stream.write_all(head(200, "Transfer-Encoding: chunked\r\n").as_bytes())?;
            stream.write_all(b"0\r\n")?;
            // Longer than any test waits.
            for _ in 0..2000 {
                stream.write_all(b"a: b\r\n")?;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        }
        Reply::Silence => {
            std::thread::sleep(Duration::from_secs(20));
            Ok(())
        }
    }
}

fn whole(bytes: &[u8]) -> Reply {
    Reply::Whole(200, Vec::new(), bytes.to_vec())
}

fn status(status: u16) -> Reply {
    Reply::Whole(status, Vec::new(), br#"{"errors":[{"code":"X","message":"so it is"}]}"#.to_vec())
}

/// As an honest registry answers.
fn honest(image: &Image, asked: &Asked) -> Reply {
    if asked.path.contains("/manifests/") && !asked.path.contains("sha256:") {
        return whole(&image.manifest);
    }
    match image.blobs.iter().find(|b| asked.path.ends_with(files::digest_of(b).as_str())) {
        Some(blob) if asked.from > 0 => Reply::Whole(206, Vec::new(), blob[asked.from..].to_vec()),
        Some(blob) => whole(blob),
        None => status(404),
    }
}

impl Registry {
    fn name(&self) -> String {
        format!("{}/shop/app:1", self.at)
    }

    fn count(&self, part: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|a| a.path.contains(part) && !a.is_head).count()
    }
}

fn options(limits: Limits) -> Options {
    Options { limits, ..Options::default() }
}

/// Text that does not compress, so that a layer has more bytes than a buffer.
fn noise(seed: u64) -> String {
    let next = |n: &mut u64| {
        *n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + u8::try_from((*n >> 40) % 90).unwrap())
    };
    let mut n = seed;
    (0..3 << 20).map(|_| next(&mut n)).collect()
}

fn sample() -> Image {
    of_items(&[vec![dir("d"), file("d/noise", &noise(1))], vec![file("top", "t")]], Pack::Gzip)
}

/// A registry that does this at one path, and is honest else; the fault of a pull, and that nothing is left.
fn faulty(
    part: &'static str,
    act: impl Fn(&Image, &Asked, usize) -> Reply + Send + Sync + 'static,
    limits: Limits,
) -> (model::Fault, Registry) {
    let image = sample();
    let registry = serve(move |asked, n| if asked.path.contains(part) { act(&image, asked, n) } else { honest(&image, asked) });
    let (place, begun) = (place(), Instant::now());
    let fault = place.pull(&registry.name(), &options(limits)).unwrap_err();
    assert_eq!(place.left(), Vec::<std::path::PathBuf>::new(), "{fault:?}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}: {fault:?}", begun.elapsed());
    (fault, registry)
}

#[test]
#[ignore = "needs root: files of many users"]
fn what_lies_or_never_ends_is_refused_and_leaves_nothing() {
    let few = || Limits { retries: 2, ..limits() };
    let expect = |done: (model::Fault, Registry), code: &str, words: &str| {
        assert!(done.0.code == code && done.0.message.contains(words), "{code} {words}: {:?}", done.0);
        done.1
    };
    expect(faulty("/manifests/", |_, _, _| Reply::Endless, few()), "image-too-large", "more than 4194304 bytes");
    expect(faulty("/manifests/", |_, _, _| whole(b"<html>"), few()), "bad-image", "cannot be read");
    expect(faulty("/manifests/", |_, _, _| status(404), few()), "no-such-image", "so it is");
    expect(faulty("/manifests/", |_, _, _| status(403), few()), "registry-refused", "so it is");
    expect(faulty("/manifests/", |_, _, _| status(418), few()), "registry-failed", "418");
    expect(faulty("/manifests/", |_, _, _| status(500), few()), "registry-failed", "500");
    expect(faulty("/manifests/", |i, _, _| Reply::Cut(200, i.manifest.clone(), 20), few()), "registry-broke-off", "");
    expect(faulty("/manifests/", |_, _, _| Reply::Silence, Limits { retries: 1, ..limits() }), "registry-unreachable", "timeout");
    let slow = Limits { silence: Duration::from_millis(200), ..few() };
    expect(
        faulty("/manifests/", |_, _, _| Reply::Drops, Limits { least_rate: 1 << 20, silence: Duration::from_millis(500), ..slow }),
        "registry-broke-off",
        "fewer than",
    );
    let told = |digest: String| {
        move |i: &Image, _: &Asked, _: usize| Reply::Whole(200, vec![("Docker-Content-Digest", digest.clone())], i.manifest.clone())
    };
    expect(faulty("/manifests/", told(format!("sha256:{}", "0".repeat(64))), few()), "wrong-digest", "manifest");

    let lie = |i: &Image, asked: &Asked, _: usize| match honest(i, asked) {
        Reply::Whole(status, headers, mut body) => {
            body[9] ^= 1;
            Reply::Whole(status, headers, body)
        }
        other => other,
    };
    expect(faulty("/blobs/", lie, few()), "wrong-digest", "the blob");
    expect(faulty("/blobs/", |_, _, _| Reply::Endless, few()), "image-too-large", "larger than the");
    let truncated = expect(
        faulty("/blobs/", |i, a, _| Reply::Cut(200, i.layers[0].clone(), if a.path.len() > 9 { 100 } else { 0 }), few()),
        "blob-truncated",
        "broke off",
    );
    assert_eq!(truncated.count("/blobs/"), 3, "as often as the limits say");
    let around = |_: &Image, asked: &Asked, n: usize| {
        Reply::Whole(307, vec![("Location", format!("{}?{n}", asked.path.split('?').next().unwrap()))], Vec::new())
    };
    let around = expect(faulty("/blobs/", around, few()), "redirect-loop", "more than 5 times");
    assert_eq!(around.count("/blobs/"), 6);
    expect(
        faulty("/blobs/", |_, _, _| Reply::Whole(302, vec![("Location", "file:///etc/passwd".into())], Vec::new()), few()),
        "bad-registry-answer",
        "no address",
    );

    let busy = expect(faulty("/manifests/", |_, _, _| status(429), few()), "registry-busy", "busy");
    assert_eq!(busy.count("/manifests/"), 3);
    let long = |_: &Image, _: &Asked, _: usize| Reply::Whole(429, vec![("Retry-After", "3600".into())], Vec::new());
    let long = expect(faulty("/blobs/", long, few()), "registry-busy", "3600 s");
    assert_eq!(long.count("/blobs/"), 1, "nobody waits for an hour");
    let header = |_: &Image, _: &Asked, _: usize| Reply::Whole(200, vec![("X", "y".repeat(1 << 20))], Vec::new());
    expect(faulty("/manifests/", header, few()), "registry-unreachable", "");
}

#[test]
#[ignore = "needs root: files of many users"]
fn a_layer_is_taken_up_where_it_broke_off() {
    let image = sample();
    let (layer, bytes) = (files::digest_of(&image.layers[0]), image.layers[0].len());
    assert!(bytes > 2 << 20);
    let served = image.clone();
    let registry = serve(move |asked, n| match honest(&served, asked) {
        // Half of what is left each time, four times.
        Reply::Whole(status, _, body) if asked.path.ends_with(files::digest_of(&served.layers[0]).as_str()) && n < 5 => {
            let half = body.len() / 2;
            Reply::Cut(status, body, half)
        }
        Reply::Whole(..) if asked.path.contains("/manifests/") && n == 1 => {
            Reply::Whole(429, vec![("Retry-After", "1".into())], Vec::new())
        }
        other => other,
    });
    let (place, begun) = (place(), Instant::now());
    let pulled = place.pull(&registry.name(), &options(limits())).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "it was asked to wait");
    assert_eq!(pulled.manifest.container.unwrap().manifest, image.digest());
    let asked = registry.asked.lock().unwrap();
    let froms: Vec<usize> = asked.iter().filter(|a| a.path.ends_with(layer.as_str())).map(|a| a.from).collect();
    assert!(froms.len() == 5 && froms.windows(2).all(|w| w[0] < w[1]), "{froms:?}");
}

#[test]
#[ignore = "needs root: files of many users"]
fn common_layers_are_fetched_once() {
    let base = vec![dir("d"), file("d/noise", &noise(2))];
    let one = of_items(&[base.clone(), vec![file("one", "1")]], Pack::Gzip);
    let two = of_items(&[base, vec![file("two", "2")]], Pack::Gzip);
    let shared = files::digest_of(&one.layers[0]);
    let images = [one.clone(), two.clone()];
    let registry = serve(move |asked, _| honest(&images[usize::from(asked.path.contains("/two"))], asked));
    let place = place();
    let at = |name: &str| format!("{}/shop/{name}:1", registry.at);
    assert_eq!(place.pull(&at("one"), &options(limits())).unwrap().kept_layers, 0);
    assert_eq!(place.pull(&at("two"), &options(limits())).unwrap().kept_layers, 1);
    assert_eq!((registry.count(shared.as_str()), place.pull(&at("two"), &options(limits())).unwrap().did), (1, store::Did::Nothing));

    // A kept layer that was damaged is fetched again, and does no harm.
    let kept = &place.store.layer(&registry.at.to_string(), &shared);
    std::fs::write(kept, "damaged").unwrap();
    place.store.gc_after(&Default::default(), 0, 0).unwrap();
    std::fs::create_dir_all(place.store.dir("layers")).unwrap();
    std::fs::write(kept, "damaged").unwrap();
    assert_eq!(place.pull(&at("one"), &options(limits())).unwrap().kept_layers, 0);
    assert_eq!(registry.count(shared.as_str()), 2);
    assert_eq!(files::digest_file(kept).unwrap().0, shared);

    place.store.gc_after(&Default::default(), 0, 0).unwrap();
    assert_eq!(place.left(), Vec::<std::path::PathBuf>::new(), "no image has them any more");
}

/// Its digest stands in logs and manifests that many may read.
#[test]
#[ignore = "needs root: files of many users"]
fn a_kept_layer_is_given_to_nobody_by_its_digest() {
    let private = of_items(&[vec![file("secret", "of another tenant")]], Pack::Gzip);
    let (layer, plain) = (files::digest_of(&private.layers[0]), files::digest_of(&tar(&[file("secret", "of another tenant")])));
    let has_repository = private.clone();
    let registry = serve(move |asked, _| match asked.path.contains("/shop/") || asked.path.contains("/manifests/") {
        true => honest(&has_repository, asked),
        false if asked.path.contains("/longer/") && asked.is_head => whole(b"of another length"),
        false if files::digest_of(&has_repository.layers[0]).as_str().ends_with(asked.path.rsplit(':').next().unwrap()) => status(404),
        false => honest(&has_repository, asked),
    });
    let place = place();
    place.pull(&registry.name(), &options(limits())).unwrap();
    assert!(place.store.layer(&registry.at.to_string(), &layer).exists());

    // A registry of the thief's own says what it likes.
    let stolen = private.clone();
    let own = serve(move |asked, _| {
        let is_layer = asked.path.ends_with(files::digest_of(&stolen.layers[0]).as_str());
        if is_layer && !asked.is_head { status(404) } else { honest(&stolen, asked) }
    });
    let name = model::ImageName::new("thief").unwrap();
    for text in [own.name(), format!("{}/theirs/app:1", registry.at), format!("{}/longer/app:1", registry.at)] {
        let fault = oci::pull(&place.store, &name, &text, &options(limits()), &mut |_| Ok(Vec::new()), &mut |_| {}).map(drop).unwrap_err();
        assert_eq!(fault.code, "no-such-image", "{text}: {fault:?}");
    }

    // Nor does an error say what the config must have.
    let wrong = crate::images::with_diff_ids(&private, &[files::digest_of(b"guessed")]);
    let registry = serve(move |asked, _| honest(&wrong, asked));
    let fault = place.pull(&registry.name(), &options(limits())).unwrap_err();
    assert!(fault.code == "bad-layer" && !fault.message.contains(plain.hex()), "{fault:?}");
}

fn challenge(asked: &Asked) -> Reply {
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\",scope=\"repository:shop/app:pull\"", asked.host);
    Reply::Whole(401, vec![("WWW-Authenticate", realm)], Vec::new())
}

fn bearer(asked: &Asked) -> bool {
    asked.authorization.as_deref().is_some_and(|a| a.starts_with("Bearer "))
}

/// Every path but the token's wants one that is good for `uses` requests.
fn tokens(uses: usize, image: Image) -> Registry {
    let used = Mutex::new((0usize, 0usize));
    serve(move |asked, _| {
        let mut used = used.lock().unwrap();
        if asked.path.starts_with("/token") {
            let is_known = asked.authorization.as_deref() == Some("Basic dTpw");
            *used = (used.0 + 1, 0);
            return if is_known { whole(format!(r#"{{"token":"t{}","expires_in":1}}"#, used.0).as_bytes()) } else { status(401) };
        }
        used.1 += 1;
        if asked.authorization.as_deref() == Some(&format!("Bearer t{}", used.0)) && used.1 <= uses {
            return honest(&image, asked);
        }
        challenge(asked)
    })
}

#[test]
#[ignore = "needs root: files of many users"]
fn a_token_that_expires_is_asked_for_again_and_one_that_never_works_is_an_end() {
    let place = place();
    let auth = place.dir.path().join("auth.json");
    let with = |registry: &Registry| {
        std::fs::write(&auth, format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, registry.at)).unwrap();
        with_password(&auth)
    };
    // Good for one request: the next one is asked for at each.
    let registry = tokens(1, sample());
    place.pull(&registry.name(), &with(&registry)).unwrap();
    assert!(registry.count("/token?scope=repository%3Ashop%2Fapp%3Apull&service=s") >= 4);
    assert!(
        registry.asked.lock().unwrap().iter().all(|a| bearer(a) || a.path.starts_with("/token") || a.authorization.is_none()),
        "no password elsewhere"
    );

    let never = tokens(0, sample());
    let fault = place.pull(&never.name(), &with(&never)).unwrap_err();
    assert_eq!((fault.code.as_str(), never.count("/token")), ("registry-refused", 2), "{fault:?}");
    let fault = resolve(&never.name(), &options(limits())).err().unwrap();
    assert!(fault.code == "registry-refused" && fault.message.contains("without a password"), "{fault:?}");

    let endless = serve(|asked, _| if asked.path.starts_with("/token") { Reply::Endless } else { challenge(asked) });
    assert_eq!(resolve(&endless.name(), &options(limits())).err().unwrap().code, "image-too-large");
}

#[test]
#[ignore = "needs root: files of many users"]
fn a_password_goes_to_nobody_else() {
    let image = sample();
    let (served, stored) = (image.clone(), image.clone());
    let storage = serve(move |asked, _| honest(&stored, asked));
    let to = storage.at;
    let registry = serve(move |asked, _| {
        if asked.authorization.as_deref() != Some("Basic dTpw") {
            return Reply::Whole(401, vec![("WWW-Authenticate", "Basic realm=\"x\"".into())], Vec::new());
        }
        if asked.path.contains("/blobs/") {
            return Reply::Whole(307, vec![("Location", format!("http://{to}{}", asked.path))], Vec::new());
        }
        honest(&served, asked)
    });
    let place = place();
    let auth = place.dir.path().join("auth.json");
    std::fs::write(&auth, format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, registry.at)).unwrap();
    place.pull(&registry.name(), &with_password(&auth)).unwrap();
    let asked = storage.asked.lock().unwrap();
    assert!(asked.len() == 3 && asked.iter().all(|a| a.authorization.is_none()), "{asked:?}");
}

/// Sent also without TLS.
fn with_password(auth: &std::path::Path) -> Options {
    Options { auth: Some(auth.to_path_buf()), plain_http: true, ..options(limits()) }
}

/// Whoever binds the port of one that is down.
#[test]
fn a_registry_on_this_machine_without_tls_gets_no_password_unless_it_was_said() {
    let asks = || {
        let image = small();
        serve(move |asked, _| match &asked.authorization {
            Some(_) => honest(&image, asked),
            None => Reply::Whole(401, vec![("WWW-Authenticate", "Basic realm=\"x\"".into())], Vec::new()),
        })
    };
    let (place, registry) = (place(), asks());
    let auth = place.dir.path().join("auth.json");
    std::fs::write(&auth, format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, registry.at)).unwrap();
    let fault = resolve(&registry.name(), &Options { plain_http: false, ..with_password(&auth) }).err().unwrap();
    assert!(fault.code == "registry-refused" && fault.message.contains("was not sent"), "{fault:?}");
    assert!(registry.asked.lock().unwrap().iter().all(|a| a.authorization.is_none()));
    resolve(&registry.name(), &with_password(&auth)).unwrap();
}

fn small() -> Image {
    of_items(&[vec![file("f", "x")]], Pack::Gzip)
}

/// A redirect of `/blobs/` to `to`.
fn leads(image: &Image, asked: &Asked, to: &str) -> Reply {
    if asked.path.contains("/blobs/") {
        return Reply::Whole(307, vec![("Location", format!("{to}{}", asked.path))], Vec::new());
    }
    honest(image, asked)
}

#[test]
fn who_a_redirect_leads_to_is_not_answered_with_a_password() {
    for (realm, other) in [("Bearer realm=\"http://HOST/token\"", "t"), ("Basic realm=\"x\"", "u")] {
        let storage = serve(move |asked, _| match asked.path.starts_with("/token") {
            true => whole(br#"{"token":"x"}"#),
            false => Reply::Whole(401, vec![("WWW-Authenticate", realm.replace("HOST", &asked.host))], Vec::new()),
        });
        let to = format!("http://{}", storage.at);
        let image = small();
        let registry = serve(move |asked, _| leads(&image, asked, &to));
        let place = place();
        let auth = place.dir.path().join("auth.json");
        std::fs::write(&auth, format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, registry.at)).unwrap();
        let fault = resolve(&registry.name(), &with_password(&auth)).err().unwrap();
        let asked = storage.asked.lock().unwrap();
        assert!(asked.len() == 1 && asked[0].authorization.is_none(), "{other}: {asked:?}");
        assert_eq!(fault.code, "registry-refused", "{fault:?}");
        let login = format!("`skopeo login --tls-verify=false --authfile FILE {}`", registry.at);
        assert!(fault.hint.unwrap().contains(&login), "as it is: without TLS");
        assert!(registry.asked.lock().unwrap().iter().all(|a| a.authorization.is_none()), "nor is the registry, which did not ask");
    }
}

#[test]
fn a_refresh_token_is_posted_to_nobody_else() {
    let storage = serve(|_, _| whole(br#"{"token":"t"}"#));
    let to = storage.at;
    let serve_tokens = |act: fn(SocketAddr) -> Reply| {
        let image = small();
        serve(move |asked, _| match asked.path.starts_with("/token") {
            true => act(to),
            false if asked.authorization.as_deref() == Some("Bearer t") => honest(&image, asked),
            false => challenge(asked),
        })
    };
    let place = place();
    let auth = place.dir.path().join("auth.json");
    let with = |registry: &Registry| {
        std::fs::write(&auth, format!(r#"{{"auths":{{"{}":{{"auth":"dTo=","identitytoken":"refresh me"}}}}}}"#, registry.at)).unwrap();
        resolve(&registry.name(), &with_password(&auth))
    };
    let honest = serve_tokens(|_| whole(br#"{"access_token":"t"}"#));
    with(&honest).unwrap();
    let form = honest.asked.lock().unwrap().iter().find(|a| a.path == "/token").unwrap().form.clone();
    assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=refresh%20me"), "{form}");

    for away in [(|to| Reply::Whole(307, vec![("Location", format!("http://{to}/"))], Vec::new())) as fn(SocketAddr) -> Reply, |to| {
        Reply::Whole(302, vec![("Location", format!("http://{to}/"))], Vec::new())
    }] {
        let fault = with(&serve_tokens(away)).err();
        assert!(storage.asked.lock().unwrap().is_empty(), "{:?}", storage.asked);
        assert_eq!(fault.unwrap().code, "bad-registry-answer");
    }
}

#[test]
fn an_answer_that_never_ends_is_given_up() {
    let short = || Limits { least_rate: 4 << 20, silence: Duration::from_millis(500), retries: 1, ..limits() };
    for (part, code) in [("/manifests/", "registry-broke-off"), ("/blobs/", "blob-truncated"), ("/token", "registry-broke-off")] {
        let image = small();
        let registry = serve(move |asked, _| match asked.path.contains(part) {
            true => Reply::Trailers,
            false if part == "/token" => challenge(asked),
            false => honest(&image, asked),
        });
        let begun = Instant::now();
        let fault = resolve(&registry.name(), &options(short())).err().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(15), "{part}: {:?}: {fault:?}", begun.elapsed());
        assert!(fault.code == code && fault.message.contains("timeout"), "{part}: {fault:?}");
    }
}

/// TLS gives a record only when it is whole: no read returns while it comes.
#[test]
#[ignore = "needs openssl"]
fn a_record_of_tls_that_comes_byte_by_byte_is_given_up() {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let dir = tempfile::tempdir().unwrap();
    let line = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out crt -days 2 -subj /CN=r \
                -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let made = std::process::Command::new("openssl").args(line.split_whitespace()).current_dir(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (crt, key) = (dir.path().join("crt"), dir.path().join("key"));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from_pem_file(&crt).unwrap()], PrivateKeyDer::from_pem_file(&key).unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, config) = (listener.local_addr().unwrap(), Arc::new(config));
    let drip = move |mut stream: TcpStream| -> std::io::Result<()> {
        let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut both = rustls::Stream::new(&mut tls, &mut stream);
        let _ = both.read(&mut [0; 4096])?;
        both.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 16000\r\n\r\n")?;
        tls.writer().write_all(&[b' '; 16000])?;
        let mut record = Vec::new();
        tls.write_tls(&mut record)?;
        // Longer than any test waits.
        record.iter().take(400).try_for_each(|byte| {
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(&[*byte])
        })
    };
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(drip(stream))));
    let limits = Limits { least_rate: 4 << 20, silence: Duration::from_millis(500), retries: 0, ..limits() };
    let begun = Instant::now();
    let fault = resolve(&format!("{at}/shop/app:1"), &Options { ca: Some(crt), ..options(limits) }).err().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}: {fault:?}", begun.elapsed());
    assert!(fault.code == "registry-broke-off" && fault.message.contains("timeout"), "{fault:?}");
}

#[test]
#[ignore = "needs root: files of many users"]
fn layers_that_come_too_slowly_are_given_up_however_steadily_they_come() {
    let image = of_items(&(0..9).map(|n| vec![file("f", &n.to_string())]).collect::<Vec<_>>(), Pack::Gzip);
    let registry = serve(move |asked, _| {
        if asked.path.contains("/blobs/") {
            std::thread::sleep(Duration::from_millis(300));
        }
        honest(&image, asked)
    });
    let place = place();
    let fault = place.pull(&registry.name(), &options(Limits { fetch: Duration::from_secs(1), ..limits() })).unwrap_err();
    assert!(fault.code == "blob-truncated" && fault.message.contains("within 1 s"), "{fault:?}");
    assert!(registry.count("/blobs/") < 8, "{}", registry.count("/blobs/"));
    assert_eq!(place.left(), Vec::<std::path::PathBuf>::new());

    let cut = |image: &Image, asked: &Asked, _: usize| {
        std::thread::sleep(Duration::from_millis(300));
        match honest(image, asked) {
            Reply::Whole(status, _, body) if asked.path.ends_with(files::digest_of(&image.layers[0]).as_str()) => {
                let half = body.len() / 2;
                Reply::Cut(status, body, half)
            }
            other => other,
        }
    };
    let (fault, registry) = faulty("/blobs/", cut, Limits { fetch: Duration::from_secs(1), retries: 50, ..limits() });
    assert_eq!(fault.code, "blob-truncated", "{fault:?}");
    assert!(registry.count("/blobs/") < 8, "{}", registry.count("/blobs/"));
}

#[test]
#[ignore = "needs root: files of many users"]
fn nobody_waits_for_another_image() {
    let other = || of_items(&[vec![file("f", "x")]], Pack::Gzip);
    waits_for_nobody(sample(), other());
    // One who serves the same manifest slowly.
    waits_for_nobody(other(), other());
}

fn waits_for_nobody(slow: Image, quick: Image) {
    let layer = files::digest_of(&slow.layers[0]);
    let (began, has_begun) = std::sync::mpsc::channel();
    let is_done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let registry = serve({
        let is_done = is_done.clone();
        let began = Mutex::new(began);
        move |asked, _| {
            if asked.path.contains("/quick/") {
                return honest(&quick, asked);
            }
            if asked.path.ends_with(layer.as_str()) {
                let _ = began.lock().unwrap().send(());
                while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            honest(&slow, asked)
        }
    });
    let place = place();
    let patient = options(Limits { silence: Duration::from_secs(60), ..limits() });
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| place.pull(&registry.name(), &patient));
        has_begun.recv().unwrap();
        let quick = scope.spawn(|| {
            let (name, text) = (model::ImageName::new("quick").unwrap(), format!("{}/quick/app:1", registry.at));
            let mut has_waited = false;
            let done = oci::pull(&place.store, &name, &text, &patient, &mut |_| Ok(Vec::new()), &mut |p| {
                if p == oci::Progress::Waiting {
                    has_waited = true;
                    is_done.store(true, std::sync::atomic::Ordering::Relaxed);
                }
            });
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
            (done, has_waited)
        });
        let (done, has_waited) = quick.join().unwrap();
        done.unwrap();
        assert!(!has_waited, "it waited for the other image");
        slow.join().unwrap().unwrap();
    });
}

#[test]
fn this_machines_image_of_an_index_and_what_is_pinned() {
    let (ours, other) = (of_items(&[vec![file("f", "ours")]], Pack::Zstd), of_items(&[vec![file("f", "other")]], Pack::Gzip));
    let platform = |image: &Image, arch: &str| {
        let mut d = descriptor(MANIFEST, &image.manifest);
        d["platform"] = serde_json::json!({ "os": "linux", "architecture": arch });
        d
    };
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [platform(&other, "s390x"), platform(&ours, arch)] }).to_string();
    let all: Vec<Vec<u8>> = ours.blobs.iter().chain(&other.blobs).cloned().chain([index.clone().into_bytes()]).collect();
    let served = Image { blobs: all, manifest: index.clone().into_bytes(), layers: Vec::new() };
    let registry = serve(move |asked, _| honest(&served, asked));
    let top = files::digest_of(index.as_bytes());
    let name = registry.name();
    let found = resolve(&name, &options(limits())).unwrap();
    assert_eq!((&found.container.manifest, &found.container.top), (&ours.digest(), &top));
    let pinned = resolve(&format!("{name}@{}", other.digest()), &options(limits())).unwrap();
    assert_eq!(pinned.container.manifest, other.digest(), "a digest counts more than a tag");
    let missing = resolve(&format!("{name}@{}", files::digest_of(b"x")), &options(limits())).err().unwrap();
    assert_eq!(missing.code, "no-such-image");
}
