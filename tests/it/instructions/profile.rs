//! What callgrind wrote: how many instructions each function executed itself.
//!
//! The format (Valgrind's manual, "Callgrind Format Specification") is lines of text. `ob=`, `fl=` and `fn=` name the
//! library, the file and the function that the cost lines below belong to; names are written once, as `(7) name`, and
//! later as `(7)`. A cost line is a position and a number. The one that follows `calls=` is what a call cost with all that
//! it called, and counts for nobody here: the function that was called has its own lines. `fi=` and `fe=` name files whose
//! code was inlined.

use std::collections::HashMap;

/// Where instructions were executed.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Function {
    /// Demangled; a hexadecimal address where the program has no name for it.
    pub(super) name: String,
    /// The source's path, or `???`.
    pub(super) file: String,
    /// The path of the program or library.
    pub(super) object: String,
}

/// Instructions by function, of all threads.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Profile {
    pub(super) functions: HashMap<Function, u64>,
}

impl Profile {
    /// Reads a file of the events `Ir`; the error is the line that is not understood, or a sum that is not the file's.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader::default();
        for line in text.lines() {
            reader.line(line).ok_or_else(|| format!("not understood: {line:?}"))?;
        }
        let sum: u64 = reader.profile.functions.values().sum();
        match reader.total {
            Some(total) if total == sum => Ok(reader.profile),
            total => Err(format!("the functions have {sum} instructions, the file {total:?}")),
        }
    }
}

#[derive(Debug, Default)]
struct Reader {
    profile: Profile,
    functions: Names,
    files: Names,
    objects: Names,
    function: Function,
    /// The next cost line is a call's.
    in_call: bool,
    total: Option<u64>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Option<()> {
        if line.is_empty() || line.starts_with('#') {
            return Some(());
        }
        if line.starts_with(['+', '-', '*']) || line.starts_with(|first: char| first.is_ascii_digit()) {
            return self.cost(line);
        }
        if let Some((word, value)) = line.split_once('=')
            && word.bytes().all(|byte| byte.is_ascii_lowercase())
        {
            match word {
                "ob" => self.function.object = self.objects.read(value)?,
                "fl" => self.function.file = self.files.read(value)?,
                "fn" => self.function.name = self.functions.read(value)?,
                // Something else's: it may be named here for the first time.
                "fi" | "fe" | "cfi" | "cfl" => drop(self.files.read(value)?),
                "cfn" => drop(self.functions.read(value)?),
                "cob" => drop(self.objects.read(value)?),
                "calls" => self.in_call = true,
                _ => return None,
            }
            return Some(());
        }
        let (word, value) = line.split_once(':')?;
        match word {
            "events" if value.trim() != "Ir" => return None,
            "totals" => self.total = Some(value.trim().parse().ok()?),
            _ => {}
        }
        Some(())
    }

    /// `POSITION` and the number; nothing stands where it is 0.
    fn cost(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let count: u64 = words.next().map_or(Some(0), |word| word.parse().ok())?;
        if words.next().is_some() {
            return None;
        }
        if !std::mem::take(&mut self.in_call) {
            *self.profile.functions.entry(self.function.clone()).or_default() += count;
        }
        Some(())
    }
}

/// Names by their numbers.
#[derive(Debug, Default)]
struct Names(HashMap<String, String>);

impl Names {
    /// `(NUMBER) NAME` or `(NUMBER)`.
    fn read(&mut self, value: &str) -> Option<String> {
        let (number, name) = value.strip_prefix('(')?.split_once(')')?;
        if let Some(name) = name.strip_prefix(' ') {
            self.0.insert(number.to_owned(), name.to_owned());
        }
        self.0.get(number).cloned()
    }
}

const EXAMPLE: &str = "\
# callgrind format
version: 1
pid: 7
positions: line
events: Ir
summary: 115

ob=(1) /bin/example
fl=(1) example.c
fn=(1) main
16 10
+4 5
cob=(2) /lib/other.so
cfi=(2) other.c
cfn=(2) work(int, (anonymous))
calls=2 30
+1 90
* 1

ob=(2)
fl=(2)
fn=(2)
30 90
fe=(1)
-2 9

ob=(1)
fl=(1)
fn=(1)
16
totals: 115
";

#[test]
fn a_profile_is_read() {
    let profile = Profile::parse(EXAMPLE).unwrap();
    let function = |name: &str, file: &str, object: &str| {
        let [name, file, object] = [name, file, object].map(str::to_owned);
        Function { name, file, object }
    };
    let expected = [
        (function("main", "example.c", "/bin/example"), 16),
        (function("work(int, (anonymous))", "other.c", "/lib/other.so"), 99),
    ];
    assert_eq!(profile.functions, expected.into());
}

#[test]
fn what_is_no_profile_is_refused() {
    for (from, to) in [
        ("totals: 115\n", ""),
        ("totals: 115", "totals: 116"),
        ("events: Ir", "events: Ir Dr"),
        ("fn=(2)\n30", "fn=(3)\n30"),
        ("+4 5", "+4 x"),
        ("calls=2 30", "jumps=2 30"),
    ] {
        let text = EXAMPLE.replace(from, to);
        assert_ne!(text, EXAMPLE);
        Profile::parse(&text).unwrap_err();
    }
}
