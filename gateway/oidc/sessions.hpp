#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace troupe {

/// Browsers that have logged in. Only in memory: a restarted daemon has them log in again, and no disk has what would
/// let somebody in. So many at most, also of one person; the one that ends first makes room. One thread.
class oidc_sessions {
public:
  struct session {
    std::string email, subject;
    int64_t ends = 0; // seconds since the epoch
  };

  /// The secret that its cookie has.
  std::string begin(session one);
  /// Null: there is none, or it has ended.
  const session* find(std::string_view secret, int64_t now) const;
  void end(std::string_view secret);
  void end_all_of(const std::string& email);
  void clear() { open_.clear(); }

private:
  std::map<std::string, session, std::less<>> open_; // by the secret's hash
};

} // namespace troupe
