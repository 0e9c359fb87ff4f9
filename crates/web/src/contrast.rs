//! Colours made readable: a theme's colour keeps its hue and goes towards black or white until words in it stand out
//! from all that they may stand on.

use syntect::highlighting::{Color, Theme};

/// What WCAG 2.2 asks of words of ordinary size, with a little to spare for rounding.
const LEAST: f64 = 4.6;

/// What code stands on in light pages: cards, blocks of Markdown, and a diff's red, green and marked rows.
pub(crate) const LIGHT: [[u8; 3]; 5] = [
    [255, 255, 255],
    [245, 245, 245],
    [250, 229, 229],
    [228, 245, 231],
    [253, 238, 209],
];
/// The same in dark pages.
pub(crate) const DARK: [[u8; 3]; 5] = [
    [23, 23, 23],
    [38, 38, 38],
    [61, 40, 40],
    [39, 56, 42],
    [75, 60, 31],
];

/// Relative luminance as WCAG defines it.
fn luminance(colour: [u8; 3]) -> f64 {
    let [r, g, b] = colour.map(|part| {
        let share = f64::from(part) / 255.0;
        if share <= 0.040_45 {
            share / 12.92
        } else {
            ((share + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

/// How far two colours stand apart, from 1 to 21.
pub(crate) fn ratio(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// A colour as near to the given one as can be read on all grounds; `towards` is 0 for black, 255 for white.
fn readable(colour: [u8; 3], grounds: &[[u8; 3]], towards: u8) -> [u8; 3] {
    let step = |share: u32| {
        colour.map(|part| {
            let mixed = (u32::from(part) * (50 - share) + u32::from(towards) * share) / 50;
            u8::try_from(mixed).unwrap_or(towards)
        })
    };
    (0..=50)
        .map(step)
        .find(|mixed| grounds.iter().all(|ground| ratio(*mixed, *ground) >= LEAST))
        .unwrap_or([towards; 3])
}

/// Makes a theme's words readable on the grounds; grounds of its own are left out, since rows have theirs.
pub(crate) fn mend(theme: &mut Theme, grounds: &[[u8; 3]], towards: u8) {
    for item in &mut theme.scopes {
        item.style.background = None;
        if let Some(colour) = &mut item.style.foreground {
            let [r, g, b] = readable([colour.r, colour.g, colour.b], grounds, towards);
            *colour = Color { r, g, b, a: 255 };
        }
    }
}
