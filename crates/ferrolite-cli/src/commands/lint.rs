use super::print;
use crate::args::LintArgs;
use ferrolite::{Error, files, quantize};

pub fn run(args: &LintArgs) -> Result<(), Error> {
    let findings = quantize::lint(&files::map_model(&args.model)?, args.target)?;
    for finding in &findings {
        print(&finding.to_string());
    }
    match findings.len() {
        0 => {
            print(&format!("nothing is wrong for {}", args.target));
            Ok(())
        }
        1 => Err(Error::usage(format!("1 finding for {}", args.target))),
        count => Err(Error::usage(format!("{count} findings for {}", args.target))),
    }
}
