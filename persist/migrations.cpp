#include "persist/migrations.hpp"

#include "persist/keys.hpp"
#include "persist/store_state.hpp"

#include <algorithm>

namespace troupe {
namespace {

const migration* step_from(uint32_t format, std::span<const migration> steps) {
  auto at = std::find_if(steps.begin(), steps.end(), [format](const migration& m) { return m.from == format; });
  return at == steps.end() ? nullptr : &*at;
}

} // namespace

const format_history& built_in_formats() {
  // To change a format: raise its number and add the step from the number before, with a test.
  // A new table: opening makes it, but an older daemon would not know it in the log, so it is a new format, too.
  // Formats before these had no log and were never released.
  static const format_history formats{.cluster = 4, .local = 3};
  return formats;
}

outcome<void> check_format(const std::string& path, uint32_t found, uint32_t wanted, std::span<const migration> steps) {
  if (found > wanted)
    return fail(fault::newer_format, "The database " + path + " has format " + std::to_string(found) +
                                         ", which a newer Troupe wrote; this one knows formats up to " +
                                         std::to_string(wanted));
  for (uint32_t format = found; format < wanted; ++format)
    if (!step_from(format, steps))
      return fail(fault::corrupt,
                  "The database " + path + " has format " + std::to_string(format) + ", which cannot be migrated");
  return {};
}

outcome<void> migrate(environment& env, uint32_t wanted, std::span<const migration> steps) {
  return guarded([&] {
    with_recovery([&] {
      write_txn txn{env};
      auto found = txn.get(table::meta, format_key);
      uint64_t format = found ? decode_number(*found) : wanted;
      if (format == wanted) return;
      for (; format < wanted; ++format) step_from(static_cast<uint32_t>(format), steps)->run(txn);
      txn.put(table::meta, format_key, encode_number(wanted));
      txn.commit();
    });
  });
}

} // namespace troupe
