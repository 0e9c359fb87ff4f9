//! A file that is said to be a list of issues: read, or refused, whatever it is.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((rows, _)) = bascule_planning::transfer::read(bytes) {
        assert!(rows.len() <= bascule_planning::transfer::ROWS);
        for row in rows {
            assert!(row.row >= 2);
            drop(bascule_planning::text::title(&row.title, "row"));
            drop(bascule_planning::text::day(&row.due_on));
        }
    }
});
