#include "actors/figures.hpp"

namespace troupe {

std::shared_ptr<mailbox_figures> figures::begin_mailbox(const std::string& part) {
  auto fresh = std::make_shared<mailbox_figures>();
  std::lock_guard guard{lock_};
  mailboxes_[part] = fresh;
  return fresh;
}

std::map<std::string, std::shared_ptr<const mailbox_figures>> figures::mailboxes() const {
  std::lock_guard guard{lock_};
  return mailboxes_;
}

void figures::operation_ended(const std::string& kind, bool succeeded, double seconds) {
  std::lock_guard guard{lock_};
  auto& sum = operations_[{kind, succeeded}];
  ++sum.count;
  sum.seconds += seconds;
}

figures::by_kind figures::operations() const {
  std::lock_guard guard{lock_};
  return operations_;
}

void figures::actor_restarted(const std::string& kind) {
  std::lock_guard guard{lock_};
  ++restarts_[kind];
}

std::map<std::string, uint64_t> figures::restarts() const {
  std::lock_guard guard{lock_};
  return restarts_;
}

} // namespace troupe
