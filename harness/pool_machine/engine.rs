//! A program in llama-server's place, ready or as sources: it hands its words to `llorch scripted-engine`, which answers as
//! llama-server does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Machine;
use crate::harness::Finding;
use crate::harness::sshd::find_program;

/// What one that can't start says.
const LAST_WORDS: &str = "these were its last words";

/// The sentence that says what a build of it lacks on this machine.
pub fn builds() -> Result<(), String> {
    let has = |names: &[&str]| names.iter().any(|name| find_program(name).is_some());
    let needed: [&[&str]; 4] = [&["cmake"], &["ninja", "make"], &["cc", "gcc", "clang"], &["c++", "g++", "clang++"]];
    match needed.into_iter().find(|names| !has(names)) {
        Some(names) => Err(format!("there is no {} on the PATH", names.join(" or "))),
        None => Ok(()),
    }
}

impl Machine {
    /// A `llama-server` that `works` or `ends at once`; gives where it lies.
    pub fn install_engine(&mut self, what: &str) -> Result<PathBuf, Finding> {
        let installed = match what {
            "works" => self.install_as("llama-server", "scripted-engine"),
            "ends at once" => self.install("llama-server", &format!("#!/bin/sh\necho '{LAST_WORDS}' >&2\nexit 3\n")),
            other => return Err(Finding::error("something that an engine does", other)),
        };
        let path = installed.map_err(failed)?;
        self.set("LLAMA_SERVER_BIN", &path.display().to_string());
        Ok(path)
    }

    /// A tree as llama.cpp's, in `sources`, whose targets have the names of its programs.
    pub fn write_engine_sources(&mut self, are: &str) -> Result<(), Finding> {
        let program = match are {
            "whole" | "of something else" => program(&self.llorch),
            "wrong" => "int main(void) { return nothing; }\n".to_owned(),
            other => return Err(Finding::error("what sources can be", other)),
        };
        let folder = self.path("sources");
        let written = || -> io::Result<()> {
            fs::create_dir_all(folder.join("tools/server"))?;
            fs::write(folder.join("program.c"), program)?;
            fs::write(folder.join("CMakeLists.txt"), BUILD)?;
            if are == "of something else" { Ok(()) } else { fs::create_dir(folder.join("ggml")) }
        };
        // One that is named or found is not built.
        self.set("LLAMA_SERVER_BIN", "");
        written().map_err(failed)
    }

    /// Folders in which a build was begun.
    pub fn half_builds(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path(BUILDS)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.ends_with(".partial")).collect()
    }
}

/// Where a machine whose configuration says `cache_dir: cache` builds.
pub const BUILDS: &str = "cache/llama.cpp";

fn failed(problem: io::Error) -> Finding {
    Finding::error("a program in the place of llama-server", problem.to_string())
}

const BUILD: &str = "cmake_minimum_required(VERSION 3.10)
project(engine C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_executable(llama-server program.c)
add_executable(llama-quantize program.c)
";

fn program(llorch: &Path) -> String {
    format!(
        "#include <unistd.h>
int main(int count, char **words) {{
    char *line[count + 2];
    line[0] = line[1] = \"scripted-engine\";
    for (int at = 1; at <= count; at++) line[at + 1] = words[at];
    execv({llorch:?}, line);
    return 127;
}}
"
    )
}
