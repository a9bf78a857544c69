#pragma once

namespace troupe {

/// Makes malloc give memory back: few arenas, big blocks mapped one by one. Call first in main, before any thread
/// starts.
void tune_allocator();

/// Gives back what only the start used: freed heap, and the pages of programs and libraries that nobody writes. Those
/// needed again come back from the page cache one fault at a time. Any thread, at any time.
void drop_start_pages();

} // namespace troupe
