//! Axis-aligned boxes of object detectors.

/// Two opposite corners: y1, x1, y2, x2.
pub type Corners = [f32; 4];

/// The corners in order: smallest y and x, largest y and x.
pub fn ordered(b: Corners) -> Corners {
    let min = |a: f32, b: f32| if b < a { b } else { a };
    let max = |a: f32, b: f32| if a < b { b } else { a };
    [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])]
}

/// Area of the intersection of two boxes with ordered corners over that of their union; 0 where one has no area.
pub fn intersection_over_union(a: Corners, b: Corners) -> f32 {
    let area = |b: Corners| (b[2] - b[0]) * (b[3] - b[1]);
    let (area_a, area_b) = (area(a), area(b));
    if area_a <= 0.0 || area_b <= 0.0 {
        return 0.0;
    }
    let height = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let width = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let intersection = height * width;
    intersection / (area_a + area_b - intersection)
}

/// The boxes of a flat list of coordinates.
pub fn corners(flat: &[f32], i: usize) -> Corners {
    [flat[4 * i], flat[4 * i + 1], flat[4 * i + 2], flat[4 * i + 3]]
}
