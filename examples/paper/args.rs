//! The command line: a flag for every field of the configuration, and a few more.

use super::common::args::{one_line, path, text};
use super::config::{Config, FIELDS, Holds, Preset, Source, flag};
use super::store::CONFIG;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::error::Error;
use std::path::{Path, PathBuf};

/// What was asked for.
pub struct Args {
    pub config: Config,
    /// Go on with what is in the folder.
    pub resume: bool,
    /// Only print the configuration.
    pub print_config: bool,
}

const LONG: &str = "Compare networks fairly: search the learning rate of each, train it several times, test it.\n\nEvery \
                    finished run is on disk at once. Ctrl-C or SIGTERM ends after the present steps, the second at once; \
                    --resume goes on.";

fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).value_parser(path())
    };
    let switch =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
    let preset = "Defaults: paper (those of the original experiments) or small (a minute or two). Without it: paper \
                  with a data folder, small with drawn images";
    let fields = FIELDS.iter().map(|field| {
        let long = flag(field).trim_start_matches('-').to_owned();
        let arg = Arg::new(field.name).long(long).value_name("VALUE").help(field.about).value_parser(text());
        let arg = arg.allow_negative_numbers(true);
        match field.holds {
            Holds::YesOrNo => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            _ => arg,
        }
    });
    Command::new("paper")
        .about("Compare networks fairly: search the learning rate of each, train it several times, test it")
        .long_about(LONG)
        .after_help("Flags override fields of the configuration file; lists are written with commas.")
        .arg(option("config", "FILE", "Configuration file (TOML); begin with what --print-config prints"))
        .arg(Arg::new("preset").long("preset").value_name("NAME").help(preset).value_parser(Preset::find))
        .arg(switch("resume", "Go on with the experiment in the folder --out, with its configuration; seeds, trials and networks may be added"))
        .arg(switch("print-config", "Print the whole configuration that would be used, and end"))
        .args(fields)
}

impl Args {
    /// Reads the command line and the configuration file; an error is one line.
    pub fn read() -> Result<Self, Box<dyn Error>> {
        Self::of(&command().try_get_matches().map_err(one_line)?)
    }

    fn of(matches: &ArgMatches) -> Result<Self, Box<dyn Error>> {
        let flags: Vec<_> =
            FIELDS.iter().filter_map(|field| Some((field, matches.get_one::<String>(field.name)?.clone()))).collect();
        let given = |name: &str| flags.iter().find(|(field, _)| field.name == name).map(|(_, text)| text.as_str());
        let config = |source: Source| {
            let data = given("data").or(source.text("data")).unwrap_or_default();
            let by_data = if data.is_empty() { Preset::Small } else { Preset::Paper };
            let preset = matches.get_one("preset").copied().unwrap_or(by_data);
            Config::new(preset, source, &flags)
        };
        let resume = matches.get_flag("resume");
        let file = matches.get_one::<PathBuf>("config");
        let mut config = config(file.map(|file| Source::read(file)).transpose()?.unwrap_or_default())?;
        if resume && file.is_none() && !matches.contains_id("preset") {
            // What is in the folder is what was meant, but for what a flag says.
            let before = Path::new(&config.out).join(CONFIG);
            if before.exists() {
                let out = config.out;
                config = Config { out, ..Config::new(Preset::Paper, Source::read_whole(&before)?, &flags)? };
            }
        }
        Ok(Self { config, resume, print_config: matches.get_flag("print-config") })
    }
}
