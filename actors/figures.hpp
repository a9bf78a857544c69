#pragma once

#include "runtime/mailbox_figures.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace troupe {

/// What the daemon counts of itself, for /1.0/metrics. Any thread; the strings are kinds, never names of things, so it
/// stays small.
class figures {
public:
  struct ended {
    uint64_t count = 0;
    double seconds = 0; // from acceptance to end, all together
  };
  using by_kind = std::map<std::pair<std::string, bool>, ended>; // kind of saga and whether it succeeded

  /// A part (by its role's name) begins, or begins anew: its mailbox is empty then.
  std::shared_ptr<mailbox_figures> begin_mailbox(const std::string& part);
  std::map<std::string, std::shared_ptr<const mailbox_figures>> mailboxes() const;

  void operation_ended(const std::string& kind, bool succeeded, double seconds);
  by_kind operations() const;

  void actor_restarted(const std::string& kind);
  std::map<std::string, uint64_t> restarts() const;

private:
  mutable std::mutex lock_;
  std::map<std::string, std::shared_ptr<const mailbox_figures>> mailboxes_;
  by_kind operations_;
  std::map<std::string, uint64_t> restarts_;
};

} // namespace troupe
