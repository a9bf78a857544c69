#pragma once

#include "persist/transaction.hpp"

namespace troupe {

/// What a batch has to do in local.mdb.
struct local_part {
  std::vector<write> writes;
  std::vector<message<schema::Event>> events;

  bool empty() const { return writes.empty() && events.empty(); }
};

/// An outbox record, made and read. Reading throws kj::Exception if the bytes are damaged or name an unknown table.
std::string encode_outbox(const local_part& part);
local_part decode_outbox(std::string_view bytes);

} // namespace troupe
