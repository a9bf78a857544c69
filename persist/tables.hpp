#pragma once

#include "persist/store.hpp"

#include <span>

namespace troupe {

/// The environment a table lives in.
enum class scope : uint8_t { cluster, local };

struct table_row {
  table id;
  const char* name; // of the LMDB database and in the log: never changes
  scope where;
  bool writable; // by batches; the others are the store's own
};

/// Every table, in the order of the enum.
std::span<const table_row> all_tables();
const table_row& row_of(table id);
std::optional<table> table_named(std::string_view name);

/// `meta` exists in both environments (as a batch's table it means the local one). Keys that begin like this are the
/// store's own: format, epoch, position.
inline constexpr std::string_view own_meta_prefix = "store/";

} // namespace troupe
