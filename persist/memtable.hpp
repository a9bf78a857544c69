#pragma once

#include "persist/tables.hpp"

#include <array>
#include <memory>

namespace troupe {

/// The writes that are in the log but not in LMDB yet, the newest of each key: an ordered map per table. Copies are
/// cheap and share what they have in common; a copy that another thread reads is not touched by changes of this one.
/// Entries live as long as any copy that has them.
class memtable {
public:
  struct entry {
    std::string key;
    std::optional<std::string> value; // nullopt: the record is deleted
    uint64_t index;                   // of the commit
  };
  using visitor = std::function<bool(const entry&)>;

  /// One writer at a time. `edit` is the index before the writer's unpublished changes: nodes newer than that are its
  /// own and are changed in place.
  void put(table where, entry what, uint64_t edit);
  const entry* find(table where, std::string_view key) const;
  bool empty(table where) const { return !roots_[static_cast<size_t>(where)]; }
  /// In key order from the first key >= `from`, until `visit` returns false.
  void scan(table where, std::string_view from, const visitor& visit) const;
  /// The entries of commits after `index`.
  memtable newer_than(uint64_t index) const;

  /// Walks a table in key order. Valid as long as the memtable it came from.
  class cursor {
  public:
    const entry* get() const; // null: at the end
    void next();

  private:
    friend class memtable;
    std::vector<const struct memtable_node*> path_; // those still to be visited, the next one last
  };
  cursor lower_bound(table where, std::string_view from) const;

private:
  std::array<std::shared_ptr<struct memtable_node>, static_cast<size_t>(table::meta) + 1> roots_;
};

} // namespace troupe
