//! Lines and bars as SVG: axes, colours and legend, whatever they show.

use std::io;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::element::DashedPathElement;
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
    pub look: Look,
    /// Drawn thin: the lesser of two lines of one colour.
    pub thin: bool,
}

/// What a subject is told by: a colour, and dashes for whom colours say less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Of lines and bars.
    pub colour: RGBColor,
    /// Lengths of a dash and of the gap behind it; `None`: a whole line.
    pub dashes: Option<(u32, u32)>,
}

/// One bar.
pub struct Bar {
    /// What it is about.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// Where the true value is, if that is known.
    pub interval: Option<(f64, f64)>,
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

impl Axis {
    /// What stands at a value: between powers of ten, where values are equally far apart, at the double and the fivefold only,
    /// because others have no room.
    fn at(&self, value: f64) -> String {
        let first = (value / 10_f64.powf((value.log10() + 1e-9).floor())).round();
        if self.logarithmic && ![1.0, 2.0, 5.0].contains(&first) {
            String::new()
        } else {
            (self.label)(value)
        }
    }
}

/// Set, so that a dark page does not show through.
const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
const SIZE: (u32, u32) = (960, 540);
const TEXT: u32 = 15;
/// Of the legend beside lines, which covers none of them there, and of one of its rows.
const LEGEND: (u32, i32) = (250, 22);

/// Lines over a logarithmic vertical axis; `None` where there is no line with two points.
pub fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> io::Result<Option<String>> {
    if !lines.iter().any(|line| line.points.len() > 1) {
        return Ok(None);
    }
    let (from, to) = extent(lines.iter().flat_map(|line| &line.points).map(|point| point.0));
    let svg = if x.logarithmic {
        drawn(|area| lines_over(area, title, (from..to).log_scale(), (x, y), lines))
    } else {
        let room = (to - from) * 0.03;
        drawn(|area| lines_over(area, title, (from - room).max(0.0)..to + room, (x, y), lines))
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
    let mut frame = framed(area, title);
    frame.margin_right(LEGEND.0);
    let mut chart = frame.build_cartesian_2d(span, rise).map_err(said)?;
    mesh(&mut chart, axes.0, axes.1)?;
    for line in lines {
        let points = line.points.iter().copied();
        match line.look.dashes {
            None => _ = chart.draw_series(LineSeries::new(points, line.style())).map_err(said)?,
            Some((dash, gap)) => {
                let series = DashedLineSeries::new(points, dash, gap, line.style());
                chart.draw_series(series).map_err(said)?;
            }
        }
        if line.marked {
            let dots = line.points.iter().map(|point| Circle::new(*point, 4, line.look.colour.filled()));
            chart.draw_series(dots).map_err(said)?;
        }
    }
    legend(area, lines)
}

impl Line {
    fn style(&self) -> ShapeStyle {
        ShapeStyle { stroke_width: if self.thin { 1 } else { 3 }, ..self.look.colour.into() }
    }
}

/// Right of the chart.
fn legend(area: &Area<'_>, lines: &[Line]) -> io::Result<()> {
    let x = (SIZE.0 - LEGEND.0) as i32 + 14;
    let named = lines.iter().filter_map(|line| Some((line, line.name.as_ref()?)));
    for (row, (line, name)) in (0..).zip(named) {
        let y = 60 + row * LEGEND.1;
        let ends = [(x, y), (x + 44, y)];
        match line.look.dashes {
            None => area.draw(&PathElement::new(ends, line.style())).map_err(said)?,
            Some((dash, gap)) => {
                area.draw(&DashedPathElement::new(ends, dash, gap, line.style())).map_err(said)?;
            }
        }
        let style = text().pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(name.clone(), (x + 52, y), style)).map_err(said)?;
    }
    Ok(())
}

/// Horizontal bars with a text at each end; `None` of none.
pub fn bars(title: &str, unit: &'static str, bars: &[Bar]) -> io::Result<Option<String>> {
    if bars.is_empty() {
        return Ok(None);
    }
    let longest = bars.iter().map(Bar::end).fold(0.0, f64::max);
    let names: Vec<String> = bars.iter().rev().map(|bar| bar.name.clone()).collect();
    drawn(|area| {
        let mut frame = framed(area, title);
        frame.set_label_area_size(LabelAreaPosition::Left, 230);
        let rows = (0..bars.len() - 1).into_segmented();
        let mut chart = frame.build_cartesian_2d(0.0..longest * 1.55, rows).map_err(said)?;
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
            if let Some((low, high)) = bar.interval {
                let ends = [low, high].map(|end| (end, SegmentValue::CenterOf(row)));
                chart.draw_series([PathElement::new(ends.clone(), INK.stroke_width(2))]).map_err(said)?;
                let caps = ends.map(|end| Circle::new(end, 3, INK.filled()));
                chart.draw_series(caps).map_err(said)?;
            }
            let place = (bar.end() + longest * 0.012, SegmentValue::CenterOf(row));
            let words = Text::new(bar.words.clone(), place, text().pos(Pos::new(HPos::Left, VPos::Center)));
            chart.draw_series([words]).map_err(said)?;
        }
        Ok(())
    })
    .map(Some)
}

impl Bar {
    /// Where its text begins.
    fn end(&self) -> f64 {
        self.interval.map_or(self.value, |(_, high)| high.max(self.value))
    }
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
    let (x_label, y_label) = (|value: &f64| x.at(*value), |value: &f64| y.at(*value));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_logarithmic_axis_leave_room_for_each_other() {
        let axis = Axis { title: "", label: |value| format!("{value:.0}"), logarithmic: true };
        let shown: Vec<String> = (1..=10).map(|n| axis.at(f64::from(n) * 100.0)).collect();
        assert_eq!(shown, ["100", "200", "", "", "500", "", "", "", "", "1000"]);
        assert_eq!(Axis { logarithmic: false, ..axis }.at(900.0), "900");
    }
}
