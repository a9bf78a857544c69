#pragma once

#include "persist/store.hpp"

namespace troupe {

/// What a group of batches does, as the write-ahead log keeps it.
struct log_record {
  std::vector<write> writes; // in order; tables of the store's own included
  uint64_t last_seq = 0;     // number of the last event after it
};

/// Decoding throws kj::Exception if the bytes are damaged or name an unknown table.
std::string encode_record(const log_record& record);
log_record decode_record(std::string_view bytes);

} // namespace troupe
