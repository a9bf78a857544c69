#pragma once

#include "backends/image/image_store.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// One run of a confined helper: `troupe-unpack`, which reads archives, `troupe-pack`, which writes them, or
/// `troupe-convert`, which converts disks. The helper
/// dies with the thread that started it, so start and wait belong on the same blocking thread. What it says is
/// untrusted, like what it reads.
class helper_call {
public:
  struct findings {
    bool virtual_machine = false;
    uint64_t disk_size = 0; // of a virtual machine whose disk was in the archive
    std::string text;       // a file of the archive that was asked for: metadata.yaml, index.yaml, backup.yaml
  };
  struct given {
    unique_fd ours;
    int theirs; // 3 and above, each once
  };
  /// What goes into the helper while it works: our end of a socket, and who gives what is written to it.
  struct feed {
    unique_fd into;
    int changed = -1; // readable when `next` may have more
    /// Nothing: there is none yet. Empty: that was all; the helper then reads its end.
    std::function<outcome<std::optional<std::string>>()> next;
    std::chrono::milliseconds patience{}; // for the next byte
  };
  struct order {
    std::string noun;               // "image unpacker", for messages
    std::vector<std::string> words; // the program and its arguments
    std::vector<given> descriptors = {};
    unique_fd output = {}; // a pipe that the helper fills, and who takes what comes
    std::function<outcome<void>(std::string_view bytes)> take = {};
    std::optional<feed> input = {};
    bool status_tells = false; // it became another program, whose exit status alone says how it ended
  };

  static outcome<helper_call> start(order what);
  helper_call(helper_call&& other) noexcept;
  helper_call& operator=(helper_call&&) = delete;
  ~helper_call(); // ends and reaps a helper that was not waited for

  /// Until the helper ends, or `stop` is cancelled: then it is killed. Progress is in bytes.
  outcome<findings> wait(const progress_sink& progress, const cancel_token* stop = nullptr);

private:
  helper_call() = default;
  outcome<void> listen(const progress_sink& progress, const cancel_token* stop);
  outcome<bool> take_report(const progress_sink& progress); // false: the helper closed it
  outcome<bool> take_output();
  outcome<void> feed_more();
  outcome<void> obey(std::string_view line, const progress_sink& progress);
  std::string complaint() const;
  tl::unexpected<error> nonsense() const;
  int reap() noexcept; // wait status, -1 when somebody else took it

  std::string noun_;
  pid_t pid_ = -1;
  unique_fd report_;
  unique_fd complaints_; // what libraries print on their way down
  unique_fd output_;
  std::function<outcome<void>(std::string_view)> take_;
  std::optional<feed> input_; // as long as there may be more
  std::string fed_;
  size_t fed_to_ = 0; // of `fed_`
  std::vector<char> block_;
  std::string pending_; // report bytes not yet understood
  size_t text_left_ = 0;
  size_t heard_ = 0;
  std::string complaint_;
  findings findings_;
  std::optional<error> refusal_;
  bool status_tells_ = false;
  bool done_ = false;
};

/// `fd` for a helper: a second, read-only opening, so that it cannot change what was hashed; or the same one.
outcome<helper_call::given> read_only_as(int fd, int theirs);
outcome<helper_call::given> same_as(int fd, int theirs);

/// The unpacker on the archives of an image, one (unified) or two (metadata, rootfs). `target`: directory to fill, or
/// -1 to check only.
outcome<helper_call> start_unpacker(const std::string& program, const std::vector<int>& archives, int target);

} // namespace troupe
