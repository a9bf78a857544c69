#pragma once

#include "actors/subscription.hpp"
#include "persist/store.hpp"

#include <map>
#include <set>

namespace troupe {

/// The durable subscriptions in memory, and the writes that keep them on disk. One thread: the events actor's, the only
/// writer of their table.
class durable_subscriptions {
public:
  explicit durable_subscriptions(const snapshot& from);

  const durable_facts* find(const std::string& name) const;
  durable_list list() const;
  size_t size() const { return all_.size(); }

  /// The write has to be committed, or the entry erased again.
  write add(durable_facts made);
  write erase(const std::string& name);
  /// Everything up to and with `at` is done. What was acknowledged before stays so.
  void acknowledge(const std::string& name, const event_cursor& at, int64_t now);

  bool unsaved() const { return !unsaved_.empty(); }
  batch take_unsaved();

private:
  std::map<std::string, durable_facts> all_;
  std::set<std::string> unsaved_;
};

} // namespace troupe
