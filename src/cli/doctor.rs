//! `chatd doctor`: whether everything is there that the daemon needs.

use super::{Exit, Failure, Options, Outcome, daemon, options::load, output};
use crate::app::doctor::{Check, Finding, Verdict, examine};
use clap::Args;
use tokio::signal::unix::SignalKind;

/// Arguments of `chatd doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Looks at everything and says what is wrong. Changes nothing, and needs no daemon.
///
/// # Errors
/// When the command cannot work at all. Otherwise the status is 78 when the configuration is not valid or the database newer
/// than the program, 69 when that is not to be had, 1 when anything else failed, and 0 with warnings only.
pub fn run(args: &DoctorArgs, options: &Options) -> Outcome {
    let mut findings = Vec::new();
    let mut tell = |finding: Finding| {
        let shown = match args.json {
            true => Ok(Exit::Done),
            // At once: a server that does not answer takes its time.
            false => output::data(line(&finding).as_bytes()),
        };
        findings.push(finding);
        shown
    };
    let config = match load(&options.sources()?) {
        Ok(loaded) => {
            let read = loaded.file.map_or_else(|| "no file was read".into(), |f| f.display().to_string());
            tell(Finding::new(Check::Configuration, Verdict::Ok, format!("valid ({read})")))?;
            for warning in &loaded.warnings {
                tell(Finding::new(Check::Configuration, Verdict::Warning, warning.to_string()))?;
            }
            Some(loaded.config)
        }
        Err(error) => {
            for problem in &error.problems {
                tell(Finding::new(Check::Configuration, Verdict::Failed, problem.to_string()))?;
            }
            None
        }
    };
    let mut unavailable = None;
    if let Some(config) = config {
        let runtime = daemon::runtime()?;
        let ended = runtime.block_on(async {
            let mut terminate = daemon::on(SignalKind::terminate())?;
            let mut interrupt = daemon::on(SignalKind::interrupt())?;
            let mut failed = None;
            let mut note = |finding| {
                if let Err(failure) = tell(finding) {
                    failed.get_or_insert(failure);
                }
            };
            let signalled = tokio::select! {
                examined = examine(&config, &mut note) => {
                    unavailable = examined.err().map(Failure::from);
                    None
                }
                _ = interrupt.recv() => Some(Exit::Interrupted),
                _ = terminate.recv() => Some(Exit::Terminated),
            };
            failed.map_or(Ok(signalled), Err)
        });
        // What still reads the database ends with the process.
        runtime.shutdown_background();
        if let Some(signalled) = ended? {
            return Ok(signalled);
        }
    }
    if args.json {
        let text = serde_json::to_string(&findings)
            .map_err(|error| Failure::failed(format!("cannot write the findings as JSON: {error}")))?;
        output::data(format!("{text}\n").as_bytes())?;
    }
    Ok(exit(&findings, unavailable.map(|failure| failure.exit)))
}

fn line(finding: &Finding) -> String {
    let (verdict, check) = (finding.verdict.as_str(), finding.check.as_str());
    let name = finding.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    format!("{verdict:<8} {check}{name}: {}\n", finding.detail)
}

/// What is to be repaired first decides; `database` is how a daemon would end that does not get its own.
fn exit(findings: &[Finding], database: Option<Exit>) -> Exit {
    let mut failed = findings.iter().filter(|f| f.verdict == Verdict::Failed).map(|f| f.check).peekable();
    match (failed.peek().is_some(), failed.any(|check| check == Check::Configuration)) {
        (_, true) => Exit::Config,
        (true, false) => database.unwrap_or(Exit::Failed),
        (false, false) => Exit::Done,
    }
}
