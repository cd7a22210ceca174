//! Which samples a flat triangle covers, row by row. Sample centres lie at halves.

/// A triangle on a grid of samples.
pub(crate) struct Flat {
    /// Each corner's weight at (x, y) is `a * x + b * y + c`; inside, all three are positive.
    pub(crate) edges: [[f32; 3]; 3],
    low: [f32; 2],
    high: [f32; 2],
}

impl Flat {
    /// None where the corners lie on a line.
    pub(crate) fn new([p, q, r]: [[f32; 2]; 3]) -> Option<Self> {
        let area = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]);
        if area.abs() < 1e-6 {
            return None;
        }
        let inverse = 1.0 / area;
        let edge = |from: [f32; 2], to: [f32; 2]| {
            let (a, b) = ((from[1] - to[1]) * inverse, (to[0] - from[0]) * inverse);
            [a, b, -(a * from[0] + b * from[1])]
        };
        Some(Self {
            edges: [edge(q, r), edge(r, p), edge(p, q)],
            low: [0, 1].map(|axis| p[axis].min(q[axis]).min(r[axis])),
            high: [0, 1].map(|axis| p[axis].max(q[axis]).max(r[axis])),
        })
    }

    /// Hands out every row that the triangle covers of a grid: y, the first x, and the x after
    /// the last.
    pub(crate) fn rows(&self, size: [usize; 2], mut row: impl FnMut(usize, usize, usize)) {
        let first = |axis: usize| first_sample(self.low[axis].max(0.0));
        let end = |axis: usize| first_sample(self.high[axis].clamp(0.0, size[axis] as f32));
        let (x0, x1) = (first(0), end(0));
        if x0 >= x1 {
            return;
        }
        // Where each edge begins or ends a row, as a line over y.
        let bounds = self.edges.map(|[a, b, c]| {
            let inverse = if a == 0.0 { 0.0 } else { -1.0 / a };
            (a, b * inverse, c * inverse, b, c)
        });
        for y in first(1)..end(1) {
            let fy = y as f32 + 0.5;
            let (mut left, mut right) = (x0 as f32, x1 as f32);
            for (a, slope, at_zero, b, c) in bounds {
                let x = slope * fy + at_zero;
                if a > 0.0 {
                    left = left.max(x);
                } else if a < 0.0 {
                    right = right.min(x);
                } else if b * fy + c < 0.0 {
                    right = f32::NEG_INFINITY;
                }
            }
            if left < right {
                let (from, to) = (first_sample(left), first_sample(right));
                if from < to {
                    row(y, from, to);
                }
            }
        }
    }
}

/// The first sample whose centre is at or after a place that is not negative.
fn first_sample(place: f32) -> usize {
    let whole = (place - 0.5).max(0.0) as usize; // towards zero
    whole + usize::from(whole as f32 + 0.5 < place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(corners: [[f32; 2]; 3], size: [usize; 2]) -> Vec<(usize, usize, usize)> {
        let mut rows = Vec::new();
        if let Some(flat) = Flat::new(corners) {
            flat.rows(size, |y, from, to| rows.push((y, from, to)));
        }
        rows
    }

    #[test]
    fn a_triangle_covers_the_centres_inside_it_whichever_way_it_turns() {
        let (a, b, c) = ([0.0, 0.0], [4.0, 0.0], [0.0, 4.0]);
        let expected = [(0, 0, 3), (1, 0, 2), (2, 0, 1)];
        assert_eq!(covered([a, b, c], [8, 8])[..3], expected);
        assert_eq!(covered([a, c, b], [8, 8])[..3], expected);
    }

    #[test]
    fn what_lies_outside_the_grid_is_left_out() {
        let rows = covered([[-9.0, -9.0], [20.0, -9.0], [-9.0, 20.0]], [3, 2]);
        assert_eq!(rows, [(0, 0, 3), (1, 0, 3)]);
        assert!(covered([[5.0, 5.0], [9.0, 5.0], [5.0, 9.0]], [3, 2]).is_empty());
    }

    #[test]
    fn corners_on_a_line_cover_nothing() {
        assert!(covered([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]], [8, 8]).is_empty());
    }
}
