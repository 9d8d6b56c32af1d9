//! What was measured: tables, and numbers for other programs.

use super::cases::{Case, Op};
use super::common::files::{self, write_whole};
use super::machine;
use super::measure::Item;
use interneuron::Isa;
use serde::{Serialize, Serializer};
use std::error::Error;
use std::path::Path;

/// Everything that was measured.
#[derive(Serialize)]
pub struct Report {
    cpu: String,
    /// The widest instruction set.
    #[serde(serialize_with = "isa_name")]
    pub isa: Isa,
    peak: Vec<Peak>,
    read: Vec<Read>,
    rows: Vec<Row>,
}

fn isa_name<S: Serializer>(isa: &Isa, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(isa.name())
}

/// The limit of computing.
#[derive(Serialize)]
struct Peak {
    isa: &'static str,
    threads: usize,
    gflops: f64,
}

/// The limit of memory.
#[derive(Serialize)]
struct Read {
    isa: &'static str,
    threads: usize,
    gb_per_s: f64,
}

/// What was measured of a case.
#[derive(Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub case: Case,
    pub us_median: f64,
    pub us_min: f64,
    pub gflops: f64,
    /// Of the limit.
    pub fraction: Option<f64>,
    /// How many times as long the composed baseline takes.
    pub vs_composed: Option<f64>,
}

/// The batch of the sweep that takes longest beside the fastest of the larger ones.
pub struct Worst {
    pub ratio: f64,
    batch: usize,
    larger: usize,
}

/// The times and the rate of an item.
struct Summary {
    case: Case,
    us_median: f64,
    us_min: f64,
    /// 10⁹ floating-point operations, or bytes, a second.
    rate: f64,
}

impl Summary {
    fn new(item: &Item<'_>) -> Self {
        let (us_median, us_min) = item.microseconds();
        Self { case: item.case, us_median, us_min, rate: item.work / us_median / 1e3 }
    }
}

fn find<'s>(all: &'s [Summary], case: &Case) -> Option<&'s Summary> {
    all.iter().find(|summary| summary.case == *case)
}

impl Report {
    pub fn new(items: &[Item<'_>], widest: Isa) -> Self {
        let all: Vec<Summary> = items.iter().map(Summary::new).collect();
        let of = |op| all.iter().filter(move |summary| summary.case.op == op);
        let peak = |s: &Summary| Peak { isa: s.case.isa(), threads: s.case.threads, gflops: s.rate };
        let read = |s: &Summary| Read { isa: s.case.isa(), threads: s.case.threads, gb_per_s: s.rate };
        let rows = all.iter().filter(|summary| !summary.case.op.is_limit());
        Self {
            cpu: machine::cpu(),
            isa: widest,
            peak: of(Op::Peak).map(peak).collect(),
            read: of(Op::Read).map(read).collect(),
            rows: rows.map(|summary| row(summary, &all, widest)).collect(),
        }
    }

    /// What was measured of a case, if it was.
    pub fn row(&self, case: &Case) -> Option<&Row> {
        self.rows.iter().find(|row| row.case == *case)
    }

    /// The worst batch of the sweep by its `time`; its ratio is below 1 if each batch is faster than all larger ones.
    pub fn worst(&self, time: impl Fn(&Row) -> f64) -> Option<Worst> {
        let sweep: Vec<&Row> = self.rows.iter().filter(|row| row.case.op == Op::Sweep).collect();
        let worst = |(i, row): (usize, &&Row)| {
            let larger = sweep[i + 1..].iter().min_by(|a, b| time(a).total_cmp(&time(b)))?;
            Some(Worst { ratio: time(row) / time(larger), batch: row.case.batch, larger: larger.case.batch })
        };
        sweep.iter().enumerate().filter_map(worst).max_by(|a, b| a.ratio.total_cmp(&b.ratio))
    }

    /// All tables.
    pub fn print(&self) -> String {
        let mut text = format!("{}, widest instruction set {}\n\n", self.cpu, self.isa);
        text += "isa       threads  multiply-add GFLOP/s   read GB/s\n";
        for (peak, read) in self.peak.iter().zip(&self.read) {
            let Peak { isa, threads, gflops } = peak;
            text += &format!("{isa:9} {threads:>7}  {gflops:>20.1}  {:>10.1}\n", read.gb_per_s);
        }
        text += "\nop                isa       threads  batch  dims                inhibitory   ";
        text += "median µs      min µs  GFLOP/s  fraction  composed ÷ it\n";
        text.extend(self.rows.iter().filter(|row| row.case.op != Op::Sweep).map(print_row));
        text += &format!("\nfraction: of the multiply-add rate; of the read rate for {}\n", Op::ForwardB1);
        for (name, worst) in [("median", self.worst(|row| row.us_median)), ("minimum", self.worst(|row| row.us_min))] {
            if let Some(Worst { ratio, batch, larger }) = worst {
                text += &format!(
                    "sweep, by the {name}: at worst, batch {batch} takes {ratio:.3} times as long as batch {larger}\n"
                );
            }
        }
        text
    }

    /// Writes the numbers, as a whole or not at all.
    pub fn write(&self, file: &Path) -> Result<(), Box<dyn Error>> {
        write_whole(file, &(serde_json::to_string_pretty(self)? + "\n"))
    }
}

/// The row of a case, by what else was measured.
fn row(summary: &Summary, all: &[Summary], widest: Isa) -> Row {
    let Summary { case, us_median, us_min, rate: gflops } = *summary;
    // One example has no use for a weight but once, so that memory is the limit.
    let (limit, rate) = match case.op {
        Op::ForwardB1 => (Op::Read, (case.sizes.weights() * size_of::<f32>()) as f64 / us_median / 1e3),
        _ => (Op::Peak, gflops),
    };
    let limit = find(all, &Case::limit(limit, case.isa.unwrap_or(widest), case.threads));
    let composed = find(all, &Case { isa: None, threads: 1, ..case });
    Row {
        case,
        us_median,
        us_min,
        gflops,
        fraction: limit.map(|limit| rate / limit.rate),
        vs_composed: composed.map(|composed| composed.us_median / us_median),
    }
}

fn print_row(row: &Row) -> String {
    let Case { op, threads, batch, sizes, .. } = row.case;
    let optional = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    format!(
        "{op:17} {:9} {threads:>7}  {batch:>5}  {:19} {:10}  {:>10.1}  {:>10.1}  {:>7.1}  {:>8}  {:>13}\n",
        row.case.isa(),
        sizes.dims(),
        sizes.inhibitory(),
        row.us_median,
        row.us_min,
        row.gflops,
        optional(row.fraction),
        optional(row.vs_composed)
    )
}

/// Makes the folder of a file and checks that files can be written there, before anything takes time.
pub fn check_folder(file: &Path) -> Result<(), Box<dyn Error>> {
    let fail = |e: std::io::Error| format!("--json {}: {e}", file.display());
    if file.file_name().is_none() || file.is_dir() {
        return Err(format!("--json {}: expected the name of a file", file.display()).into());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    files::check_folder(folder).map_err(fail)?;
    Ok(())
}
