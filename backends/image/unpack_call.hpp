#pragma once

#include "backends/image/image_store.hpp"

#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// One run of the confined helper `troupe-unpack`. The helper dies with the thread that started it, so start and wait
/// belong on the same blocking thread. What the helper says is untrusted, like the archives it reads.
class unpack_call {
public:
  struct findings {
    bool virtual_machine = false;
    std::string metadata; // metadata.yaml; only without a target
  };

  /// `archives`: one (unified) or two (metadata, rootfs); given to the helper read-only. `target`: directory to fill,
  /// or -1 to check only.
  static outcome<unpack_call> start(const std::string& program, const std::vector<int>& archives, int target);
  unpack_call(unpack_call&& other) noexcept;
  unpack_call& operator=(unpack_call&&) = delete;
  ~unpack_call(); // ends and reaps a helper that was not waited for

  /// Until the helper ends, or `stop` is cancelled: then it is killed. Progress is in bytes of the
  /// archives.
  outcome<findings> wait(const progress_sink& progress, const cancel_token* stop = nullptr);

private:
  unpack_call() = default;
  outcome<void> listen(const progress_sink& progress, const cancel_token* stop);
  outcome<bool> take_report(const progress_sink& progress); // false: the helper closed it
  outcome<void> obey(std::string_view line, const progress_sink& progress);
  int reap() noexcept; // wait status, -1 when somebody else took it

  pid_t pid_ = -1;
  unique_fd report_;
  unique_fd complaints_; // what libraries print on their way down
  std::string pending_;  // report bytes not yet understood
  size_t metadata_left_ = 0;
  size_t heard_ = 0;
  std::string complaint_;
  findings findings_;
  std::optional<error> refusal_;
  bool done_ = false;
};

} // namespace troupe
