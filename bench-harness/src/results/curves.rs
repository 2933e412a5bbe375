//! Lines and bars as SVG: axes, colours and legend, whatever they show.

use std::io;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One line of a plot.
pub struct Line {
    /// What the legend calls it; lines of one subject need one name.
    pub name: Option<String>,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Drawn by points, too: there are few.
    pub marked: bool,
    /// Lines of one subject share theirs.
    pub colour: RGBColor,
    /// Drawn thin: the lesser of two lines of one colour.
    pub thin: bool,
}

/// One bar.
pub struct Bar {
    /// What it is about.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// What stands at its end.
    pub words: String,
    /// Its colour.
    pub colour: RGBColor,
}

/// What stands along an axis.
pub struct Axis {
    /// What it is, with its unit.
    pub title: &'static str,
    /// How a value is written.
    pub label: fn(f64) -> String,
    /// Equal distances are equal ratios.
    pub logarithmic: bool,
}

/// Set, so that a dark page does not show through.
const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
const SIZE: (u32, u32) = (960, 540);
const TEXT: u32 = 15;

/// Lines over a logarithmic vertical axis; `None` where there is no line with two points.
pub fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> io::Result<Option<String>> {
    if !lines.iter().any(|line| line.points.len() > 1) {
        return Ok(None);
    }
    let (from, to) = extent(lines.iter().flat_map(|line| &line.points).map(|point| point.0));
    let svg = if x.logarithmic {
        drawn(|area| lines_over(area, title, (from..to).log_scale(), (x, y), lines))
    } else {
        drawn(|area| lines_over(area, title, 0.0..to * 1.02, (x, y), lines))
    };
    svg.map(Some)
}

fn lines_over<X>(
    area: &Area<'_>,
    title: &str,
    span: X,
    axes: (&Axis, &Axis),
    lines: &[Line],
) -> io::Result<()>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let (low, high) = extent(lines.iter().flat_map(|line| &line.points).map(|point| point.1));
    // Labels begin at a power of ten.
    let rise = (10_f64.powf(low.log10().floor())..high * 1.25).log_scale();
    let mut chart = framed(area, title).build_cartesian_2d(span, rise).map_err(said)?;
    mesh(&mut chart, axes.0, axes.1)?;
    for line in lines {
        let style = ShapeStyle { stroke_width: if line.thin { 1 } else { 3 }, ..line.colour.into() };
        let drawn = chart.draw_series(LineSeries::new(line.points.iter().copied(), style)).map_err(said)?;
        if let Some(name) = &line.name {
            drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        }
        if line.marked {
            let dots = line.points.iter().map(|point| Circle::new(*point, 4, line.colour.filled()));
            chart.draw_series(dots).map_err(said)?;
        }
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperLeft).margin(12).legend_area_size(28);
    legend.background_style(PAPER.mix(0.9)).border_style(GRID).label_font(text());
    legend.draw().map_err(said)
}

/// Horizontal bars with a text at each end; `None` of none.
pub fn bars(title: &str, unit: &'static str, bars: &[Bar]) -> io::Result<Option<String>> {
    if bars.is_empty() {
        return Ok(None);
    }
    let longest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let names: Vec<String> = bars.iter().rev().map(|bar| bar.name.clone()).collect();
    drawn(|area| {
        let mut frame = framed(area, title);
        frame.set_label_area_size(LabelAreaPosition::Left, 150);
        let rows = (0..bars.len() - 1).into_segmented();
        let mut chart = frame.build_cartesian_2d(0.0..longest * 1.45, rows).map_err(said)?;
        let named = |place: &SegmentValue<usize>| match place {
            SegmentValue::CenterOf(row) => names.get(*row).cloned().unwrap_or_default(),
            _ => String::new(),
        };
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().light_line_style(PAPER).bold_line_style(GRID).axis_style(INK);
        mesh.label_style(text())
            .x_desc(unit)
            .axis_desc_style(text())
            .y_labels(bars.len())
            .y_label_formatter(&named);
        mesh.draw().map_err(said)?;
        for (row, bar) in bars.iter().rev().enumerate() {
            let corners = [(0.0, SegmentValue::Exact(row)), (bar.value, SegmentValue::Exact(row + 1))];
            let mut shape = Rectangle::new(corners, bar.colour.filled());
            shape.set_margin(7, 7, 0, 0);
            chart.draw_series([shape]).map_err(said)?;
            let place = (bar.value + longest * 0.012, SegmentValue::CenterOf(row));
            let words = Text::new(bar.words.clone(), place, text().pos(Pos::new(HPos::Left, VPos::Center)));
            chart.draw_series([words]).map_err(said)?;
        }
        Ok(())
    })
    .map(Some)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn drawn(draw: impl FnOnce(&Area<'_>) -> io::Result<()>) -> io::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&PAPER).map_err(said)?;
        draw(&area)?;
        area.present().map_err(said)?;
    }
    Ok(svg)
}

fn framed<'a, 'b>(area: &'a Area<'b>, title: &str) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut frame = ChartBuilder::on(area);
    frame.margin(16).margin_right(28).caption(title, ("sans-serif", 20).into_font().color(&INK));
    frame.set_label_area_size(LabelAreaPosition::Bottom, 52);
    frame.set_label_area_size(LabelAreaPosition::Left, 84);
    frame
}

fn mesh<'b, X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'b>, Cartesian2d<X, Y>>,
    x: &Axis,
    y: &Axis,
) -> io::Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let (x_label, y_label) = (|value: &f64| (x.label)(*value), |value: &f64| (y.label)(*value));
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(PAPER).bold_line_style(GRID).axis_style(INK).label_style(text());
    mesh.x_desc(x.title).y_desc(y.title).axis_desc_style(text());
    mesh.y_labels(20).x_label_formatter(&x_label).y_label_formatter(&y_label).draw().map_err(said)
}

fn text() -> TextStyle<'static> {
    ("sans-serif", TEXT).into_font().color(&INK)
}

fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

fn said(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("a plot: {error}"))
}
