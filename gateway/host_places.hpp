#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <unordered_map>

namespace troupe {

class host_places;

/// One connection's share of what its host may have; gives it back when it dies.
class host_place {
public:
  host_place(std::shared_ptr<std::unordered_map<std::string, size_t>> counts, std::string host)
      : counts_{std::move(counts)}, host_{std::move(host)} {}
  host_place(const host_place&) = delete;
  host_place& operator=(const host_place&) = delete;
  ~host_place() {
    auto at = counts_->find(host_);
    if (--at->second == 0) counts_->erase(at);
  }

private:
  std::shared_ptr<std::unordered_map<std::string, size_t>> counts_;
  std::string host_;
};

/// How many connections each host has. Loop's thread only.
class host_places {
public:
  /// Null: it has `most` already.
  std::unique_ptr<host_place> take(std::string host, size_t most) {
    auto& count = (*counts_)[host];
    if (count >= most) return nullptr;
    ++count;
    return std::make_unique<host_place>(counts_, std::move(host));
  }

private:
  std::shared_ptr<std::unordered_map<std::string, size_t>> counts_ =
      std::make_shared<std::unordered_map<std::string, size_t>>();
};

} // namespace troupe
