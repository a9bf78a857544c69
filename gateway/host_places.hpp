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
      : counts_{std::move(counts)}, host_{std::move(host)}, count_{(*counts_)[host_]} {
    ++count_;
  }
  host_place(const host_place&) = delete;
  host_place& operator=(const host_place&) = delete;
  ~host_place() {
    if (--count_ == 0) counts_->erase(host_);
  }
  const std::string& host() const { return host_; }
  size_t taken() const { return count_; } // by the whole host

private:
  std::shared_ptr<std::unordered_map<std::string, size_t>> counts_;
  std::string host_;
  size_t& count_;
};

/// How many connections each host has. Loop's thread only.
class host_places {
public:
  /// Null: it has `most` already.
  std::unique_ptr<host_place> take(std::string host, size_t most) {
    auto at = counts_->find(host);
    if (at != counts_->end() && at->second >= most) return nullptr;
    return std::make_unique<host_place>(counts_, std::move(host));
  }

private:
  std::shared_ptr<std::unordered_map<std::string, size_t>> counts_ =
      std::make_shared<std::unordered_map<std::string, size_t>>();
};

} // namespace troupe
