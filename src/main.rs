//! The `brooklet` binary: arguments, then exit code; everything else is the library's.

fn main() -> std::process::ExitCode {
    brooklet::cli::main()
}
