#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace troupe {

/// The steps of one operation come one after the other, also when the actor that sends them or the actor that performs
/// them was replaced: an undoing waits for the act it undoes, to its last blocking call. Thread-safe; outlives actors.
class step_turns : public std::enable_shared_from_this<step_turns> {
public:
  /// Held while the step is at work; letting go of the last copy gives the turn to the next.
  using turn = std::shared_ptr<void>;

  /// The turn, if nobody holds it. Else nullptr, and `later` is called with it on the thread that lets go of it.
  turn take(const std::string& operation, std::function<void(turn)> later);

private:
  turn make(const std::string& operation);
  void pass_on(const std::string& operation);

  std::mutex guard_;
  std::map<std::string, std::deque<std::function<void(turn)>>> waiting_; // of those whose turn is held
};

} // namespace troupe
