use super::*;

/// A value as JSON would have it; what is opaque in angle brackets.
fn shown(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) => format!("{text:?}"),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let entries: Vec<_> = entries.iter().map(|(key, node)| format!("{key}: {}", shown(&node.value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Opaque(what) => format!("<{what}>"),
    }
}

/// What a file sets, and what in it is not read, each in one line.
fn told(text: &str) -> Vec<String> {
    let script = parse(text).unwrap();
    let set = script.assignments.iter().map(|one| format!("{} = {}", one.path.join("."), shown(&one.node.value)));
    let unread = script.unread.iter().map(|one| format!("{} {}", one.place, one.what));
    set.chain(unread).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(told(text), expected, "{text}");
}

/// One value behind `a['b'] = `.
#[track_caller]
fn check_value(text: &str, expected: &str) {
    check(&format!("a['b'] = {text}"), &[&format!("a.b = {expected}")]);
}

#[test]
fn settings_have_paths() {
    check("registry['enable'] = true", &["registry.enable = true"]);
    check("registry[\"nginx\"][:ssl] = nil\n", &["registry.nginx.ssl = nil"]);
    check("external_url 'http://a.test'", &["external_url = \"http://a.test\""]);
    check("registry_external_url(\"https://a.test\")", &["registry_external_url = \"https://a.test\""]);
    check("roles ['a', 'b']", &["roles = [\"a\", \"b\"]"]);
    check("roles %w(a b)", &["roles = [\"a\", \"b\"]"]);
    check("a['b'] = 1; a['c'] = 2 # comment; a['d'] = 3", &["a.b = 1", "a.c = 2"]);
    check("a['b'] =\n  1\na['c'] = 2", &["a.b = 1", "a.c = 2"]);
    check("a['b'] = \\\n 1", &["a.b = 1"]);
    check("\u{feff}a['b'] = 1\r\na['c'] = 2\r\n", &["a.b = 1", "a.c = 2"]);
    check("a['b'] = 1\n__END__\nwhatever ' is here", &["a.b = 1"]);
    check("=begin\na['b'] = 1\n=end\na['c'] = 2", &["a.c = 2"]);
    check("# only\n  # comments", &[]);
}

#[test]
fn literals_are_read() {
    for (text, expected) in [
        (r"'it\'s \\ \n'", r#""it's \\ \\n""#),
        (r#""\"\n\t\e\u00e9\u{1F600}\x41\101\s""#, "\"\\\"\\n\\t\\u{1b}é😀AA \""),
        ("'a' 'b' \"c\"", "\"abc\""),
        ("'a' + 'b' +\n 'c'", "\"abc\""),
        ("\"two\nlines\"", "\"two\\nlines\""),
        (":symbol", "\"symbol\""),
        (":'quoted'", "<a calculation>"),
        (":\"quoted\"", "\"quoted\""),
        ("-12", "-12"),
        ("1_000_000", "1000000"),
        ("0x1f", "31"),
        ("0755", "493"),
        ("0b11", "3"),
        ("1.5", "1.5"),
        ("-1e3", "-1000.0"),
        ("2.5e-3", "0.0025"),
        ("99999999999999999999", "<a number that is none here>"),
        ("[1, 'a', [nil], ]", "[1, \"a\", [nil]]"),
        ("[\n  1,\n  2 # two\n]", "[1, 2]"),
        ("{ 'a' => 1, :b => 2, c: 3, \"d\": 4, 5 => 6 }", "{a: 1, b: 2, c: 3, d: 4, 5: 6}"),
        ("{\n  'a' =>\n    { 'b' => [] },\n}", "{a: {b: []}}"),
        ("{ 'a' => 1, 'a' => 2 }", "{a: 2}"),
        ("{}", "{}"),
        ("(1)", "1"),
        ("%w[a b\\ c\n d]", "[\"a\", \"b c\", \"d\"]"),
        ("%i(a b)", "[\"a\", \"b\"]"),
        ("%q(a (b) 'c')", "\"a (b) 'c'\""),
        ("%Q{a\\tb}", "\"a\\tb\""),
        ("%(a)", "\"a\""),
        ("%w()", "[]"),
    ] {
        check_value(text, expected);
    }
}

#[test]
fn heredocs_are_read() {
    check_value("<<-EOS\n  a\n   b\n  EOS\n", "\"  a\\n   b\\n\"");
    check_value("<<~EOS\n    a\n\n      b\n  EOS\n", "\"a\\n\\n  b\\n\"");
    check_value("<<EOS\na \\t\nEOS\n", "\"a \\t\\n\"");
    check_value("<<~'EOS'\n  a \\t #{x}\n  EOS\n", "\"a \\\\t #{x}\\n\"");
    check_value("<<~EOS\n  a #{x}\n  EOS\n", "<a text with code in it>");
    check_value("[<<~ONE, <<~TWO]\n  1\nONE\n  2\nTWO\n", "[\"1\\n\", \"2\\n\"]");
    check("a['b'] = <<~EOS\n  # no comment\n  EOS\na['c'] = 1", &["a.b = \"# no comment\\n\"", "a.c = 1"]);
    check_value("<<~EOS.strip\n  a\n  EOS\n", "<a calculation>");
}

/// Nothing is guessed: neither what a variable is, nor whether a condition holds.
#[test]
fn what_is_no_literal_is_named() {
    for (text, expected) in [
        ("ENV['X']", "<an expression with `ENV`>"),
        ("ENV.fetch('X', 'secret')", "<an expression with `ENV`>"),
        ("File.read('/x')", "<an expression with `File`>"),
        ("\"a#{b}\"", "<a text with code in it>"),
        ("`hostname`", "<a command of the shell>"),
        ("other", "<the variable or call `other`>"),
        ("'a'.freeze", "<a calculation>"),
        ("10 * 1024", "<a calculation>"),
        ("1 if x", "<a value with a condition>"),
        ("x ? 1 : 2", "<the variable or call `x`>"),
        ("if x then 1 else 2 end", "<a value with a condition>"),
        ("$x", "<a Ruby variable>"),
        ("/a'b/", "<a regular expression>"),
        ("[1, ENV['X'], 2]", "[1, <an expression with `ENV`>, 2]"),
        (
            "{ 'a' => ENV['X'], 'b' => { c: f(1, 2), d: 3 } }",
            "{a: <an expression with `ENV`>, b: {c: <the variable or call `f`>, d: 3}}",
        ),
        ("{ 'a' => [1].map do |x, y| x end, 'b' => 2 }", "{a: <a calculation>, b: 2}"),
        ("{ **other }", "<a calculation>"),
        ("1, 2", "<several values>"),
        ("b = 1", "<the variable or call `b`>"),
        ("[1, 2].first", "<a calculation>"),
        ("-x", "<a calculation>"),
        ("'a' +\n b", "<a calculation>"),
        ("'a'\n  .strip", "<a calculation>"),
    ] {
        check_value(text, expected);
    }
    check("a['b'] ||= 1", &["a.b = <a change of an earlier value>"]);
    check("a['b'] << 'c'", &["a.b = <a change of an earlier value>"]);
    check("a['b'].merge!('c' => 1)", &["a.b = <a change of an earlier value>"]);
    check("a['b'][0] = 1", &["1:1 the Ruby code that begins with `a`"]);
}

#[test]
fn what_stands_in_a_block_is_not_known_to_happen() {
    let hidden = "<a value that stands in a condition or in a block>";
    let text =
        "if ENV['X'] == 'y'\n  a['b'] = { 'c' => 1 }\n  external_url 'x'\nelse\n  a['d'] = 2 if z\nend\na['e'] = 3";
    check(
        text,
        &[&format!("a.b = {hidden}"), &format!("external_url = {hidden}"), &format!("a.d = {hidden}"), "a.e = 3"],
    );
    check("[1].each do |x|\n  a['b'] = x\nend\na['c'] = 1", &[&format!("a.b = {hidden}"), "a.c = 1"]);
    check("while x do\n  y\nend\na['c'] = 1", &["a.c = 1", "1:1 a block of Ruby"]);
    check("begin\n a['b'] = 1\nrescue\nend", &[&format!("a.b = {hidden}")]);
    check("[1].each { |x| a['b'] = x }", &[&format!("a.b = {hidden}")]);
    check("x = 'y'\na['b'] = 1", &["a.b = 1", "1:1 the Ruby variable `x`"]);
    check("from_file '/x'", &["1:1 the Ruby code that begins with `from_file`"]);
    check("external_url = 'x'", &["1:1 the Ruby variable `external_url`"]);
    check("puts 'x' unless a['b'] == 1", &["1:1 the Ruby code that begins with `puts`"]);
    check("def x\n  if y\n    1\n  end\nend\na['b'] = 1", &["a.b = 1", "1:1 a block of Ruby"]);
}

#[test]
fn damage_is_named_with_its_place() {
    let deep = format!("a['b'] = {}", "[".repeat(100));
    let closed = format!("a['b'] = {}{}", "[".repeat(70), "]".repeat(70));
    let entries: Vec<_> = (0..2000).map(|key| format!("'{key}' => 1")).collect();
    let wide = format!("a['b'] = {{{}}}", entries.join(", "));
    for (text, expected) in [
        ("a['b'] = 'x", "1:10: the text that begins here has no end"),
        ("\na['b'] = \"x\\\"\n", "2:10: the text that begins here has no end"),
        ("a['b'] = <<-EOS\n x\n", "1:10: the heredoc that begins here has no end EOS"),
        ("a['b'] = <<-EOS", "1:10: the heredoc that begins here has no end EOS"),
        ("a['b'] = { 'c' => 1\n", "1:10: the { that stands here is never closed"),
        ("a['b'] = [1, (2]", "1:16: a ] that closes nothing"),
        ("a['b'] = 1 )", "1:12: a ) that closes nothing"),
        ("if x\n y\n", "1:1: the block that begins here has no end"),
        ("end", "1:1: an end that ends nothing"),
        ("=begin\n", "1:1: the comment that =begin opens has no =end"),
        ("a['b'] = \"\\xff\"", "1:10: an escape in the text that begins here is damaged"),
        ("a['b'] = \"\\u{zz}\"", "1:10: an escape in the text that begins here is damaged"),
        ("a['b'] = \u{1}", "1:10: a character that Ruby does not know"),
        (&deep, "1:74: nested deeper than 64"),
        (&closed, "1:74: nested deeper than 64"),
        (&wide, ": a hash of more than 1000 entries"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error == expected || expected.starts_with(':') && error.ends_with(expected), "{text}: {error}");
    }
}

/// Whatever is in a file, it is read once from its beginning to its end.
#[test]
fn large_files_are_read_soon() {
    for part in [
        "a['b'] = 1\n",
        "a['b'] = ",
        "a['b']",
        "[1,",
        "[",
        "'x' ",
        "'x' + ",
        "if x\n",
        "x do\n",
        "{ a: ",
        "<<A ",
        "%w(",
        "a['b'] = f(1, 2) if x; ",
        "1, ",
        "\\",
        "# \n",
        "\"#{",
        "a['b'] = {x: y, z: [1, 2].map { |a, b| a }}\n",
        ".a",
        "\n",
        "a['b'] = [f(g(h(1), 2), 3), ENV['x']]\n",
        "/a",
        "/",
        "<<'",
        "external_url ",
        "x = { 'a' => 1 }\n",
        "if a['b'] = 1 then end\n",
    ] {
        let _ = parse(&part.repeat((1 << 18) / part.len()));
    }
}

#[test]
fn values_are_not_in_debug() {
    let script = parse("a['b'] = { 'c' => ['canary', 4711] }").unwrap();
    let shown = format!("{script:?}");
    assert!(!shown.contains("canary") && !shown.contains("4711"), "{shown}");
}
