#include "gateway/http_spool.hpp"

#include "gateway/http_context.hpp"
#include "gateway/http_file_job.hpp"

namespace troupe {

http_spool::http_spool(std::shared_ptr<http_context> context, std::function<void()> on_progress)
    : context_{std::move(context)}, on_progress_{std::move(on_progress)} {}

void http_spool::append(std::string_view bytes) {
  if (failure_) return;
  waiting_ += bytes;
  run();
}

void http_spool::finish() {
  finishing_ = true;
  run();
}

void http_spool::abandon() { on_progress_ = nullptr; }

/// One job at a time: the file is opened by the first, and what arrives meanwhile is written by the next in one piece.
void http_spool::run() {
  if (job_ || failure_) return;
  auto then = [self = shared_from_this()](ssize_t result) { self->ended(result); };
  if (!file_) {
    job_ = true;
    return open_unnamed_file(*context_, then);
  }
  if (written_ == writing_.size()) {
    writing_.clear();
    writing_.swap(waiting_);
    written_ = 0;
  }
  if (writing_.empty()) return;
  job_ = true;
  write_file(*context_, file_.get(), writing_.data() + written_, writing_.size() - written_, size_, then);
}

void http_spool::ended(ssize_t result) {
  job_ = false;
  if (!file_ && result >= 0) {
    file_.reset(static_cast<int>(result));
  } else if (result > 0) {
    written_ += static_cast<size_t>(result);
    size_ += static_cast<uint64_t>(result);
  } else {
    failure_ = result ? static_cast<int>(-result) : EIO;
    waiting_ = writing_ = {};
    file_.reset();
  }
  if (on_progress_) run();
  if (auto call = on_progress_) call();
}

unique_fd http_spool::take() {
  lseek(file_.get(), 0, SEEK_SET); // positioned writes never moved it; said for whoever changes that
  return std::move(file_);
}

} // namespace troupe
