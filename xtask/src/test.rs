//! `cargo xtask test`: everything that has to hold, with one closing count.

use crate::{bench_compare, cargo, codegen, command, layers, python, root, run, target, wheel};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Passed, failed and skipped checks.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    /// Counts a check of this program's own.
    fn check(&mut self, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                println!("ok: {name}");
                self.passed += 1;
            }
            Err(message) => {
                println!("FAILED: {name}: {message}");
                self.failed += 1;
            }
        }
    }

    fn skip(&mut self, name: &str, why: &str) {
        println!("skipped: {name} ({why})");
        self.skipped += 1;
    }

    /// Runs a program, shows its output, and adds up the result lines that it prints: those of `cargo test` and plain
    /// `N passed, N failed` ones.
    fn run(&mut self, name: &str, command: &mut Command) {
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(e) => return self.check(name, Err(e.to_string())),
        };
        let (mut counted, mut failed) = (false, 0);
        for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines().map_while(Result::ok)) {
            println!("{line}");
            if let Some((p, f, s)) = parse_result(&line) {
                counted = true;
                failed += f;
                self.passed += p;
                self.failed += f;
                self.skipped += s;
            }
        }
        match child.wait() {
            Ok(status) if status.success() => {
                if !counted {
                    self.check(name, Err("printed no result".into()));
                }
            }
            // Failed tests are counted already; anything else (a build error) is one failure.
            Ok(_) if failed > 0 => {}
            Ok(status) => self.check(name, Err(status.to_string())),
            Err(e) => self.check(name, Err(e.to_string())),
        }
    }
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …` or `3 passed, 0 failed, 1 skipped`.
fn parse_result(line: &str) -> Option<(u64, u64, u64)> {
    let line = line.strip_prefix("test result: ").map_or(line, |rest| rest.split_once(". ").map_or(rest, |r| r.1));
    let mut counts = [None; 3];
    for part in line.split([';', ',']) {
        let mut words = part.split_whitespace();
        let Some(Ok(count)) = words.next().map(str::parse::<u64>) else { continue };
        match words.next() {
            Some("passed") => counts[0] = Some(count),
            Some("failed") => counts[1] = Some(count),
            Some("ignored" | "skipped") => counts[2] = Some(count),
            _ => {}
        }
    }
    Some((counts[0]?, counts[1]?, counts[2].unwrap_or(0)))
}

/// Formats, lints and tests everything.
pub(crate) fn test() -> Result<(), String> {
    let mut tally = Tally::default();
    tally.check("formatting", format());
    tally.check("layering", layers::check());
    tally.check(
        "lints",
        run(&mut cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    );
    tally.run("tests", &mut cargo(&["test", "--workspace", "--no-fail-fast"]));
    tally.check(
        "documentation",
        run(cargo(&["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings")),
    );
    match python::with_packages(wheel::FOR_TESTS) {
        Ok(python) => {
            litert(&mut tally, &python);
            match wheel::pytest(&python) {
                Ok(mut pytest) => {
                    tally.run("Python", &mut pytest);
                    zoo(&mut tally, &python);
                }
                Err(why) => tally.check("the Python wheel", Err(why)),
            }
        }
        Err(why) => {
            tally.skip("comparison with LiteRT", &why);
            tally.skip("Python", &why);
        }
    }
    match codegen::flatc_available() {
        Ok(()) => tally.check("generated schema code is current", codegen::codegen(true)),
        Err(why) => tally.skip("generated schema code is current", &why),
    }
    finish(&tally)
}

/// The comparison with LiteRT alone.
pub(crate) fn litert_alone() -> Result<(), String> {
    let mut tally = Tally::default();
    litert(&mut tally, &python::with_packages(wheel::FOR_TESTS)?);
    finish(&tally)
}

/// The comparison of real models with LiteRT alone.
pub(crate) fn zoo_alone() -> Result<(), String> {
    let python = python::with_packages(wheel::FOR_TESTS)?;
    wheel::build(&python)?;
    let mut tally = Tally::default();
    zoo(&mut tally, &python);
    finish(&tally)
}

/// Runs real models here and in LiteRT, where there are any.
fn zoo(tally: &mut Tally, python: &Path) {
    let dir = bench_compare::zoo_dir();
    if !dir.join("manifest.json").exists() {
        return tally.skip("real models against LiteRT", "no zoo: neither FERROLITE_ZOO nor ../shared/zoo");
    }
    let mut compare = command(python, &["xtask/python/zoo_compare.py", "--max-mb", "30", "--jobs", "2"]);
    tally.run("real models against LiteRT", compare.arg("--zoo").arg(dir));
}

fn finish(tally: &Tally) -> Result<(), String> {
    println!("\n{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    if tally.failed == 0 { Ok(()) } else { Err(format!("{} checks failed", tally.failed)) }
}

/// Checks the format of every Rust file that git knows, also those that a macro declares; generated code is exempt.
fn format() -> Result<(), String> {
    let list = command("git", &["ls-files", "*.rs"]).output().map_err(|e| format!("git: {e}"))?;
    let list = String::from_utf8_lossy(&list.stdout);
    let files: Vec<&str> = list.lines().filter(|f| !f.ends_with("generated.rs") && root().join(f).exists()).collect();
    run(command("rustfmt", &["--check", "--edition", "2024"]).args(files))
}

/// Writes generated cases and quickstart's models, and has a Python script run each here and in LiteRT.
fn litert(tally: &mut Tally, python: &Path) {
    let target = target();
    let out = target.join("litert");
    let _ = std::fs::remove_dir_all(&out);
    let cases = out.join("cases");
    let quickstart = out.join("quickstart");
    let (cases, quickstart) = (cases.to_string_lossy(), quickstart.to_string_lossy());
    let written = run(&mut cargo(&[
        "run",
        "--quiet",
        "--release",
        "--package",
        "ferrolite-ops",
        "--example",
        "write_cases",
        &cases,
    ]));
    tally.check("cases are written", written);
    let trained =
        run(&mut cargo(&["run", "--quiet", "--release", "--", "quickstart", "--epochs", "1", "--out", &quickstart]));
    tally.check("quickstart", trained);
    let ferrolite = target.join("release").join(format!("ferrolite{}", std::env::consts::EXE_SUFFIX));
    let mut compare = command(python, &["xtask/python/litert_compare.py"]);
    tally.run("comparison with LiteRT", compare.arg("--ferrolite").arg(ferrolite).args([&*cases, &*quickstart]));
}
