#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace troupe {

/// Tells on stderr how a long job goes: one line that is rewritten when stderr is a terminal, else a line per step.
class progress {
public:
  explicit progress(std::string subject);
  ~progress(); // leaves the cursor on a fresh line

  void step(const std::string& what);
  /// Within a step; shown on terminals only.
  void amount(uint64_t done_bytes, uint64_t total_bytes);
  /// A line that stays.
  void say(const std::string& line);

private:
  void draw(const std::string& text);

  std::string subject_, step_;
  bool live_, drawn_ = false;
  std::chrono::steady_clock::time_point next_draw_{};
};

/// "12.3 MiB".
std::string human_size(uint64_t bytes);

} // namespace troupe
