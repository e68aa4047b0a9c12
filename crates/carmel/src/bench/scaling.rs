//! How throughput grows with what a shop is given: measured, and continued by
//! the universal scalability law (N. J. Gunther, Guerrilla Capacity Planning,
//! Springer 2007, chapter 4): `X(N) = λN / (1 + σ(N − 1) + κN(N − 1))`, where λ
//! is what one gives, σ what is done one after the other, and κ what each costs
//! the others.

use kernel::Result;
use load::Load;
use serde::Serialize;

use super::{
    Options,
    crowd::Crowd,
    scenario::{Scenario, load_of},
    stage::Stage,
};

/// What grows: those who write, and those who read.
pub const OF: [Scenario; 2] = [Scenario::Buy, Scenario::Browse];

/// What a shop is given more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Given {
    /// People who ask at once.
    Connections,
    /// Processors that it may run on. The load runs on all of them.
    Cores,
}

/// How a scenario grew.
#[derive(Debug, Serialize)]
pub struct Scaling {
    pub scenario: String,
    pub given: Given,
    /// What was measured.
    pub points: Vec<Point>,
    /// The law of it; nothing of fewer points than it has parameters and one more.
    pub law: Option<Law>,
}

/// So many gave so much: answers a second, or orders that had ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    pub count: u64,
    pub per_second: f64,
}

/// The universal scalability law that is nearest to what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Law {
    /// λ: what one gives a second.
    pub of_one: f64,
    /// σ: the part that is done one after the other.
    pub contention: f64,
    /// κ: what each costs every other.
    pub coherency: f64,
    /// How far what was measured lies from it, as a part of it: the root of the mean square.
    pub error: f64,
}

impl Law {
    /// The law that is nearest to these points, by the least squares of
    /// `N/X = (1 + σ(N − 1) + κN(N − 1)) / λ`, each point weighted so that a
    /// tenth counts the same everywhere. A negative σ or κ, which means nothing, is
    /// zero. Nothing of fewer than four points.
    pub fn of(points: &[Point]) -> Option<Law> {
        if points.len() < 4 || points.iter().any(|point| point.count == 0 || point.per_second <= 0.0) {
            return None;
        }
        let parts = [[true, true], [true, false], [false, true], [false, false]];
        let laws = parts.iter().filter_map(|parts| Law::with(points, *parts));
        let possible = laws.filter(|law| law.of_one > 0.0 && law.contention >= 0.0 && law.coherency >= 0.0);
        possible.min_by(|one, other| one.error.total_cmp(&other.error))
    }

    /// The same, with a σ and a κ or without.
    fn with(points: &[Point], [contends, coheres]: [bool; 2]) -> Option<Law> {
        let terms = |point: &Point| {
            let (n, weight) = (point.count as f64, point.per_second / point.count as f64);
            let on = |is_on: bool| if is_on { weight } else { 0.0 };
            [weight, on(contends) * (n - 1.0), on(coheres) * n * (n - 1.0)]
        };
        // The normal equations; what is left out has a one of its own, and so is zero.
        let mut matrix = [[0.0; 4]; 3];
        for point in points {
            let terms = terms(point);
            for (row, of_row) in matrix.iter_mut().zip(terms) {
                row.iter_mut().zip(terms).for_each(|(cell, term)| *cell += of_row * term);
                row[3] += of_row; // weight × N/X is one
            }
        }
        for (at, is_on) in [(1, contends), (2, coheres)] {
            if !is_on {
                matrix[at][at] = 1.0;
            }
        }
        let [a, b, c] = solved(matrix)?;
        let mut law = Law { of_one: 1.0 / a, contention: b / a, coherency: c / a, error: 0.0 };
        let off = points.iter().map(|point| (point.per_second / law.at(point.count as f64) - 1.0).powi(2));
        law.error = (off.sum::<f64>() / points.len() as f64).sqrt();
        Some(law)
    }

    /// What so many give a second.
    pub fn at(&self, count: f64) -> f64 {
        let waiting = self.contention * (count - 1.0) + self.coherency * count * (count - 1.0);
        self.of_one * count / (1.0 + waiting)
    }

    /// With how many it gives most; nothing when more always give more.
    pub fn peak(&self) -> Option<f64> {
        let peak = ((1.0 - self.contention) / self.coherency).sqrt();
        (peak.is_finite() && self.coherency > 0.0).then(|| peak.max(1.0))
    }
}

/// Solves three equations, each with its right side last; nothing when they do
/// not say enough.
fn solved(mut rows: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    for at in 0..3 {
        let largest = (at..3).max_by(|one, other| rows[*one][at].abs().total_cmp(&rows[*other][at].abs()))?;
        rows.swap(at, largest);
        let pivot = rows[at];
        if pivot[at].abs() < f64::EPSILON {
            return None;
        }
        for (_, row) in rows.iter_mut().enumerate().filter(|(other, _)| *other != at) {
            let factor = row[at] / pivot[at];
            row.iter_mut().zip(pivot).for_each(|(cell, of_pivot)| *cell -= factor * of_pivot);
        }
    }
    Some([rows[0][3] / rows[0][0], rows[1][3] / rows[1][1], rows[2][3] / rows[2][2]])
}

/// Measures a scenario with more and more of each.
pub async fn measure(
    scenario: Scenario,
    stage: &Stage,
    crowd: &Crowd,
    options: &Options,
) -> Result<[Scaling; 2]> {
    let usual = Load { per_second: None, ..load_of(stage, options) };
    let run = async |load: Load| {
        let measured = scenario.run(stage, crowd, load, options.pieces).await?;
        Ok::<f64, kernel::Error>(measured.settled_per_second.unwrap_or(measured.per_second))
    };
    let mut connections = Vec::new();
    for count in doubled(options.connections) {
        let load = Load { connections: count as usize, ..usual };
        connections.push(Point { count, per_second: run(load).await? });
    }
    let mut cores = Vec::new();
    for count in doubled(stage.cores() as u64) {
        stage.confine(count as usize).await?;
        cores.push(Point { count, per_second: run(usual).await? });
    }
    Ok([(Given::Connections, connections), (Given::Cores, cores)].map(|(given, points)| Scaling {
        scenario: scenario.to_string(),
        given,
        law: Law::of(&points),
        points,
    }))
}

/// One, two, four and so on, and the most.
fn doubled(most: u64) -> Vec<u64> {
    let mut counts: Vec<u64> =
        std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|count| *count < most).collect();
    counts.push(most);
    counts
}

impl Scaling {
    /// What it says, in a sentence.
    pub fn said(&self) -> String {
        let given = match self.given {
            Given::Connections => "connections",
            Given::Cores => "cores",
        };
        let points: Vec<String> =
            self.points.iter().map(|point| format!("{} {:.0}", point.count, point.per_second)).collect();
        let law = match self.law {
            None => "too few to say what more would give".to_owned(),
            Some(law) => {
                let most = self.points.iter().map(|point| point.count).max().unwrap_or(1);
                let peak = law.peak().map_or_else(
                    || "more always give more".to_owned(),
                    |peak| format!("the most, {:.0}, at {peak:.0}", law.at(peak)),
                );
                format!(
                    "σ {:.4}, κ {:.6}, {:.0} for twice as many, {peak}; it is off by {:.0} % of what was measured",
                    law.contention,
                    law.coherency,
                    law.at(2.0 * most as f64),
                    law.error * 100.0
                )
            }
        };
        format!("{} a second by {given}: {}; {law}", self.scenario, points.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(law: Law, counts: &[u64]) -> Vec<Point> {
        counts.iter().map(|count| Point { count: *count, per_second: law.at(*count as f64) }).collect()
    }

    #[test]
    fn a_law_is_found_again_in_what_it_says() {
        for (of_one, contention, coherency) in
            [(995.0, 0.02, 0.0005), (10.0, 0.0, 0.001), (100.0, 0.1, 0.0), (3.0, 0.0, 0.0)]
        {
            let law = Law { of_one, contention, coherency, error: 0.0 };
            let found = Law::of(&points(law, &[1, 2, 4, 8, 16, 32])).unwrap();
            let is_near = |one: f64, other: f64| (one - other).abs() <= 1e-6 * other.abs().max(1.0);
            assert!(is_near(found.of_one, of_one), "{found:?}");
            assert!(is_near(found.contention, contention), "{found:?}");
            assert!(is_near(found.coherency, coherency), "{found:?}");
            assert!(found.error < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn what_is_off_is_said_and_nothing_is_negative() {
        let law = Law { of_one: 100.0, contention: 0.05, coherency: 0.001, error: 0.0 };
        let mut off = points(law, &[1, 2, 4, 8, 16, 32]);
        for (at, point) in off.iter_mut().enumerate() {
            point.per_second *= if at % 2 == 0 { 1.1 } else { 0.9 };
        }
        let found = Law::of(&off).unwrap();
        assert!((0.05..0.15).contains(&found.error), "{found:?}");
        // Twice as much from each as from one: a law with σ below zero.
        let better: Vec<Point> =
            [1, 2, 4, 8].map(|count| Point { count, per_second: (count * count) as f64 }).to_vec();
        let found = Law::of(&better).unwrap();
        assert!(found.contention >= 0.0 && found.coherency >= 0.0 && found.error > 0.3, "{found:?}");
    }

    #[test]
    fn too_few_points_have_no_law_and_a_peak_is_where_more_give_less() {
        let law = Law { of_one: 100.0, contention: 0.0, coherency: 0.01, error: 0.0 };
        assert_eq!(Law::of(&points(law, &[1, 2, 4])), None);
        let peak = law.peak().unwrap();
        assert!((peak - 10.0).abs() < 1e-9 && law.at(peak) > law.at(11.0) && law.at(peak) > law.at(9.0));
        assert_eq!(Law { coherency: 0.0, ..law }.peak(), None);
    }

    #[test]
    fn counts_are_doubled_up_to_the_most() {
        assert_eq!((doubled(1), doubled(2), doubled(24)), (vec![1], vec![1, 2], vec![1, 2, 4, 8, 16, 24]));
    }
}
