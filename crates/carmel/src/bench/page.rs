//! The report as a page: one file that needs nothing else.

use std::fmt::{Display, Write};

use kernel::{Error, Result};
use plotters::prelude::*;

use super::{
    capacity::Capacity,
    report::{Measured, Report},
    scaling::{Given, Scaling},
};

const STYLE: &str = "
    body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
    table { border-collapse: collapse; width: 100% } th, td { padding: .3rem .6rem; text-align: right }
    th { border-bottom: 2px solid #1b1f24; vertical-align: bottom } td { border-bottom: 1px solid #d0d7de }
    th:first-child, td:first-child { text-align: left } .note { color: #57606a } .breach { color: #b42318 }
    svg { max-width: 100%; height: auto }";

/// The page, as HTML.
pub fn page(report: &Report) -> Result<String> {
    let mut page = String::new();
    write(&mut page, report).map_err(Error::internal)?;
    for most in &report.capacity {
        let title =
            format!("{}: {:.0} a second at a p99 of {:.0} ms", most.scenario, most.per_second, most.p99_ms);
        let plot = plot(most, report.within_ms).map_err(Error::internal)?;
        page.push_str(&format!("<h2>{}</h2>\n{plot}\n", escaped(&title)));
    }
    for scaling in &report.scaling {
        let plot = growth(scaling).map_err(Error::internal)?;
        page.push_str(&format!("<h2>{}</h2>\n{plot}\n", escaped(&scaling.said())));
    }
    Ok(page)
}

fn write(page: &mut String, report: &Report) -> std::fmt::Result {
    let title = format!("carmel {} on {} cores", report.version, report.cores);
    writeln!(page, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>")?;
    writeln!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style><h1>{title}</h1>"
    )?;
    writeln!(page, "<p class=\"note\">{}.</p>", escaped(&report.how()))?;
    page.push_str(
        "<table><tr><th>scenario<th>answers a second<th>orders ended a second<th>p50, ms<th>p99, ms<th>p99.9, ms\
         <th>cost, µs<th>statements<th>round trips<th>commits<th>cores: shop<th>cores: load<th>memory, MB</tr>\n",
    );
    report.measured.iter().try_for_each(|one| row(page, one))?;
    page.push_str("</table>\n");
    for line in report.remarks() {
        writeln!(page, "<p>{}</p>", escaped(&line))?;
    }
    for breach in &report.breaches {
        writeln!(page, "<p class=\"breach\">BREACH {}</p>", escaped(breach))?;
    }
    writeln!(page, "<p>{} breaches</p>", report.breaches.len())
}

fn row(page: &mut String, one: &Measured) -> std::fmt::Result {
    let settled = one.settled_per_second.map(|rate| format!("{rate:.0}")).unwrap_or_default();
    writeln!(
        page,
        "<tr><td>{}<td>{:.0}<td>{settled}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.0}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.0}</tr>",
        one.scenario,
        one.per_second,
        one.wait_ms.p50,
        one.wait_ms.p99,
        one.wait_ms.p999,
        one.cost_us,
        one.asked.statements,
        one.asked.round_trips,
        one.asked.commits,
        one.shop_cores,
        one.load_cores,
        one.memory_mb
    )
}

/// How long people wait at each rate that was tried, as SVG: filled where it is borne.
fn plot(
    most: &Capacity,
    within_ms: u64,
) -> std::result::Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let mut tried: Vec<_> =
        most.tried.iter().map(|one| (one.rate, one.p99_ms.max(0.01), one.borne)).collect();
    tried.sort_by(|one, other| one.0.total_cmp(&other.0));
    let waits = || tried.iter().map(|one| one.1).chain([within_ms as f64]);
    // Whole decades, so that there are always two lines with a number.
    let least = 10_f64.powf(waits().fold(f64::MAX, f64::min).log10().floor());
    let longest = 10_f64.powf((waits().fold(0.0, f64::max) * 1.01).log10().ceil());
    let fastest = tried.last().map_or(1.0, |one| one.0) * 1.05;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (900, 360)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..fastest, (least..longest).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("asked a second")
            .y_desc("p99, ms")
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 14))
            .draw()?;
        let limit = [(0.0, within_ms as f64), (fastest, within_ms as f64)];
        chart.draw_series(LineSeries::new(limit, RGBColor(180, 35, 24)))?;
        chart.draw_series(LineSeries::new(tried.iter().map(|one| (one.0, one.1)), RGBColor(9, 105, 218)))?;
        chart.draw_series(tried.iter().map(|(rate, wait, borne)| {
            let color = RGBColor(9, 105, 218);
            let style = if *borne { color.filled() } else { color.stroke_width(2) };
            Circle::new((*rate, *wait), 5, style)
        }))?;
        area.present()?;
    }
    Ok(svg)
}

/// What was measured with more and more, as SVG, and its law up to twice as many as a line.
fn growth(scaling: &Scaling) -> std::result::Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let points: Vec<(f64, f64)> =
        scaling.points.iter().map(|point| (point.count as f64, point.per_second)).collect();
    let most = 2.0 * points.iter().map(|point| point.0).fold(1.0, f64::max);
    let steps = (0..=200).map(|step| 1.0 + (most - 1.0) * f64::from(step) / 200.0);
    let law: Vec<(f64, f64)> =
        scaling.law.iter().flat_map(|law| steps.clone().map(|count| (count, law.at(count)))).collect();
    let highest = points.iter().chain(&law).map(|point| point.1).fold(1.0, f64::max) * 1.05;
    let given = match scaling.given {
        Given::Connections => "connections",
        Given::Cores => "cores",
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (900, 360)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..most, 0.0..highest)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(given)
            .y_desc("a second")
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 14))
            .draw()?;
        chart.draw_series(LineSeries::new(law, RGBColor(180, 35, 24)))?;
        chart
            .draw_series(points.iter().map(|point| Circle::new(*point, 5, RGBColor(9, 105, 218).filled())))?;
        area.present()?;
    }
    Ok(svg)
}

fn escaped(text: &impl Display) -> String {
    text.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
