#include "persist/memtable.hpp"

#include <functional>
#include <utility>

namespace troupe {

/// A treap: ordered by key, a heap by the key's hash, so its shape depends on the keys alone.
struct memtable_node {
  std::shared_ptr<const memtable::entry> entry;
  uint64_t priority;
  uint64_t made; // index of the commit that made this node
  std::shared_ptr<memtable_node> left, right;
};

namespace {

using node = memtable_node;
using tree = std::shared_ptr<memtable_node>;

/// Where this writer may change a node: its own, or a copy in its place.
node& writable(tree& at, uint64_t edit, uint64_t index) {
  if (at->made <= edit) {
    at = std::make_shared<node>(*at);
    at->made = index;
  }
  return *at;
}

void insert(tree& at, std::shared_ptr<const memtable::entry>& what, uint64_t edit) {
  if (!at) {
    uint64_t priority = std::hash<std::string>{}(what->key);
    uint64_t index = what->index;
    at = std::make_shared<node>(node{std::move(what), priority, index, nullptr, nullptr});
    return;
  }
  int order = what->key.compare(at->entry->key);
  node& here = writable(at, edit, what->index);
  if (order == 0) {
    here.entry = std::move(what);
    return;
  }
  auto [down, across] = order < 0 ? std::pair{&node::left, &node::right} : std::pair{&node::right, &node::left};
  insert(here.*down, what, edit);
  if ((here.*down)->priority <= here.priority) return;
  // The child goes up; what lies between the two changes sides.
  tree child = here.*down;
  here.*down = (*child).*across;
  (*child).*across = std::exchange(at, child);
}

} // namespace

void memtable::put(table where, entry what, uint64_t edit) {
  auto shared = std::make_shared<const entry>(std::move(what));
  insert(roots_[static_cast<size_t>(where)], shared, edit);
}

const memtable::entry* memtable::find(table where, std::string_view key) const {
  const node* at = roots_[static_cast<size_t>(where)].get();
  while (at) {
    int order = key.compare(at->entry->key);
    if (order == 0) return at->entry.get();
    at = (order < 0 ? at->left : at->right).get();
  }
  return nullptr;
}

memtable::cursor memtable::lower_bound(table where, std::string_view from) const {
  cursor at;
  for (const node* below = roots_[static_cast<size_t>(where)].get(); below;) {
    bool before = below->entry->key < from;
    if (!before) at.path_.push_back(below);
    below = (before ? below->right : below->left).get();
  }
  return at;
}

const memtable::entry* memtable::cursor::get() const { return path_.empty() ? nullptr : path_.back()->entry.get(); }

void memtable::cursor::next() {
  const node* below = path_.back()->right.get();
  path_.pop_back();
  for (; below; below = below->left.get()) path_.push_back(below);
}

void memtable::scan(table where, std::string_view from, const visitor& visit) const {
  for (cursor at = lower_bound(where, from); at.get() && visit(*at.get()); at.next()) {
  }
}

memtable memtable::newer_than(uint64_t index) const {
  memtable newer;
  for (const table_row& row : all_tables())
    for (cursor at = lower_bound(row.id, {}); at.get(); at.next())
      if (at.get()->index > index) newer.put(row.id, *at.get(), 0);
  return newer;
}

} // namespace troupe
