//! Our server under callgrind, and what it executes between two questions.
//!
//! The program runs on a processor that Valgrind emulates, so the counts do not depend on how fast or how busy the machine
//! is. What they would depend on otherwise is fixed here: the number of worker threads, and which of its copying loops the
//! C library chooses for the processor (a `rep movsb` counts once for each byte).

use std::{
    cmp::Reverse,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    instructions::profile::{Function, Profile},
    support::{
        command::{command, run},
        registry::{Auth, Program, Registry, Storage, Transport},
        tools,
    },
};

/// The programs that this takes.
pub(super) const PROGRAMS: &[&str] = &["valgrind", "vgdb"];

/// One worker, whatever the number of processors.
const THREADS: &str = "TOKIO_WORKER_THREADS=1";

/// The C library's loops for any x86-64, whatever this processor has. Elsewhere these names mean nothing.
const LOOPS: &str = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-SSSE3,-ERMS,-FSRM";

/// What stands in the path or the name of functions that hash or encipher. Callgrind's processor has no instructions for
/// SHA, and others for AES than this one, so what they take there says nothing; and they are not ours. AWS-LC's C and
/// assembly are told by the path of the source, and where that has no line numbers, by the version in its symbols.
const CRYPTOGRAPHY: [&str; 4] = ["/aws-lc/", "aws_lc_0_", "_aesni_", "sha2::"];

/// What goes by time and not by work.
const CLOCKS: [&str; 1] = ["pingora_timeout::timer::TimerManager::clock_thread"];

/// How many functions are named.
const SHOWN: usize = 12;

/// A server whose instructions are counted.
pub(super) struct Counted {
    pub(super) registry: Registry,
    /// Where callgrind writes: to this name, a dot and the dump's number.
    output: PathBuf,
    dumps: u32,
    _directory: tempfile::TempDir,
}

impl Counted {
    /// Over a directory, with TLS and without tokens.
    pub(super) fn start() -> Self {
        // Not where temporary files lie: that may be memory, which the server reads on another way.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let here = directory.path();
        let output = here.join("callgrind");
        let mut words: Vec<OsString> = ["env", THREADS, LOOPS].map(OsString::from).into();
        words.push(tools::path("valgrind").into());
        words.extend(["--quiet", "--tool=callgrind"].map(OsString::from));
        words.push(format!("--callgrind-out-file={}", output.display()).into());
        let program = Program::pierhead().under(words);
        let storage = Storage::directory(&here.join("data"));
        let registry = Registry::start_on(&program, &here.join("server"), &storage, Transport::Tls, Auth::None);
        Self { registry, output, dumps: 0, _directory: directory }
    }

    /// What was executed since this was asked last, by function.
    pub(super) fn dump(&mut self) -> Profile {
        self.dumps += 1;
        let process = format!("--pid={}", self.registry.id());
        run(&mut command("vgdb", [process.as_str(), "dump"]));
        let path = self.output.with_extension(self.dumps.to_string());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::remove_file(&path).unwrap();
        Profile::parse(&text).unwrap()
    }
}

/// The instructions of all functions that are judged.
pub(super) fn judged(profile: &Profile) -> u64 {
    profile.functions.iter().filter(|(function, _)| is_judged(function)).map(|(_, count)| count).sum()
}

/// Those that take the most among them, a line for each.
pub(super) fn heaviest(profile: &Profile) -> String {
    let mut functions: Vec<_> = profile.functions.iter().filter(|(function, _)| is_judged(function)).collect();
    functions.sort_by_key(|(function, count)| (Reverse(**count), &function.name));
    let line = |(function, count): &(&Function, &u64)| format!("{count:>14}  {:.110}", function.name);
    functions.iter().take(SHOWN).map(line).collect::<Vec<_>>().join("\n")
}

/// The instructions of our program's functions that have no name: nobody can say whether they belong to [`CRYPTOGRAPHY`].
/// The C library's have names only where its symbols are installed.
pub(super) fn nameless(profile: &Profile) -> u64 {
    let program = Program::pierhead();
    let nameless = |function: &Function| {
        Path::new(&function.object).file_name() == program.path().file_name()
            && (function.name.starts_with("0x") || function.name == "???")
    };
    profile.functions.iter().filter(|(function, _)| nameless(function)).map(|(_, count)| count).sum()
}

fn is_judged(function: &Function) -> bool {
    let says = |word: &str| function.file.contains(word) || function.name.contains(word);
    !CRYPTOGRAPHY.into_iter().any(says) && !CLOCKS.contains(&function.name.as_str())
}

#[test]
fn what_hashes_and_enciphers_is_left_out() {
    let judged = |name: &str, file: &str| {
        is_judged(&Function { name: name.to_owned(), file: file.to_owned(), object: String::new() })
    };
    for (name, file) in [
        ("_aesni_ctr32_ghash_6x", "x/aws-lc-sys-0.47.0/aws-lc/generated-src/linux-x86_64/crypto/aesni-gcm-x86_64.S"),
        ("aead_aes_gcm_seal_scatter_impl", "x/aws-lc-sys-0.47.0/aws-lc/crypto/fipsmodule/cipher/e_aes.c"),
        ("aws_lc_0_47_0_curve25519_x25519_alt", "???"),
        ("sha2::sha256::soft::unroll::compress", "x/sha2-0.11.0/src/sha256/soft/unroll.rs"),
        ("pingora_timeout::timer::TimerManager::clock_thread", "x/pingora-timeout-0.9.1/src/timer.rs"),
    ] {
        assert!(!judged(name, file), "{name}");
    }
    for (name, file) in [
        ("memcpy@GLIBC_2.2.5", "???"),
        ("rustls::conn::ConnectionCore<Data>::process_msg", "x/rustls-0.23.46/src/conn.rs"),
        ("pierhead::oci::hasher::Hasher::update", "src/oci/hasher.rs"),
        ("<aws_lc_rs::aead::LessSafeKey>::seal_in_place_separate_tag", "x/aws-lc-rs-1.19.0/src/aead.rs"),
    ] {
        assert!(judged(name, file), "{name}");
    }
}
