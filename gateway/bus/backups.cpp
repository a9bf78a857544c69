#include "gateway/backup_file.hpp"
#include "gateway/bus/bytes.hpp"
#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"

#include <fcntl.h>
#include <sys/stat.h>

namespace troupe::on_bus {
namespace {

using verb = change_backup::verb;

to_instance target(const call_ptr& c) { return {c->at.head->project, c->at.name()}; }

template <class Params>
change_backup changing(const call_ptr& c, verb what) {
  return {what, c->at.head, text(c->params<Params>().getBackup()), ""};
}

// A backup on its way in. The file is unnamed: it is gone if nobody finishes.
class instance_upload final : public bus::InstanceUpload::Server {
public:
  instance_upload(place at, std::string name, std::string pool)
      : at_{std::move(at)}, engaged_{at_.of->doings}, name_{std::move(name)}, pool_{std::move(pool)} {}

  bus::ByteStream::Client receive() {
    file_ = std::make_shared<const unique_fd>(open(at_.with().dir.spool.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!*file_) refuse(fail_errno(errno, "Cannot make a temporary file").value());
    return receive_file(at_, file_, [] {});
  }

  kj::Promise<void> finish(FinishContext context) override {
    if (!file_) refuse(fault::wrong_state, "The upload was finished already");
    auto read = [file = std::exchange(file_, nullptr), head = at_.head] {
      return read_import(unique_fd{fcntl(file->get(), F_DUPFD_CLOEXEC, 0)}, head);
    };
    return on_blocking_thread(at_, read).then([this, context](import_backup&& found) mutable {
      found.name = name_;
      found.pool = pool_;
      auto instance = at_.below(name_.empty() ? found.index->name : name_);
      return ask<operation_record>(at_, role::instances, std::move(found))
          .then([this, context, instance](operation_record&& record) mutable {
            auto where = at_;
            where.names = {record.read([](auto op) { return text(op.getId()); })};
            context.getResults().setOperation(handle_of<bus::Operation>(where));
            context.getResults().setInstance(handle_of<bus::Instance>(instance));
          });
    });
  }

private:
  place at_;
  activity::engagement engaged_;
  std::string name_, pool_;
  std::shared_ptr<const unique_fd> file_;
};

} // namespace

kj::Promise<void> list_backups(const call_ptr& c) {
  auto records = c->with().db.read();
  if (!records.get(table::instances, c->at.key())) refuse(fault::not_found, "Instance not found");
  auto found = backups_of(records, c->at.head->project, c->at.name());
  auto items = c->results<bus::Instance::BackupsResults>().initItems(static_cast<unsigned>(found.size()));
  for (unsigned i = 0; i < found.size(); ++i) {
    found[i].read([&](schema::BackupSpec::Reader spec) {
      copy_shown(spec, items[i].initSpec());
      items[i].setSize(spec.getSize());
    });
    items[i].setEtag(etag_of(found[i].bytes()));
  }
  return kj::READY_NOW;
}

kj::Promise<void> make_backup(const call_ptr& c) {
  auto post = copy_of<schema::BackupsPost>(c->params<schema::BackupsPost>());
  return begin(c, std::nullopt, role::instances, target(c), envelope<schema::BackupsPost>{post, c->at.head});
}

kj::Promise<void> rename_backup(const call_ptr& c) {
  auto request = changing<bus::Instance::RenameBackupParams>(c, verb::rename);
  request.new_name = text(c->params<bus::Instance::RenameBackupParams>().getName());
  return begin(c, std::nullopt, role::instances, target(c), std::move(request));
}

kj::Promise<void> delete_backup(const call_ptr& c) {
  return begin(c, std::nullopt, role::instances, target(c),
               changing<bus::Instance::DeleteBackupParams>(c, verb::remove));
}

kj::Promise<void> export_backup(const call_ptr& c) {
  auto name = text(c->params<bus::Instance::ExportBackupParams>().getBackup());
  auto found =
      load<schema::BackupSpec>(c->with().db.read(), backups_table, backup_key(c->at.head->project, c->at.name(), name));
  if (!found) refuse(fault::not_found, "Backup not found");
  using file = std::shared_ptr<const unique_fd>;
  auto open_it = [&with = c->with(), backup = *found]() -> outcome<file> {
    auto opened = open_backup(with, backup);
    if (!opened) return tl::unexpected{opened.error()};
    return std::make_shared<const unique_fd>(std::move(*opened));
  };
  return on_blocking_thread(c->at, open_it).then([c](file&& opened) {
    struct stat info {};
    if (fstat(opened->get(), &info) != 0) refuse(fail_errno(errno, "Cannot look at the backup").value());
    auto size = static_cast<uint64_t>(info.st_size);
    c->results<bus::Instance::ExportBackupResults>().setSize(size);
    return send_file(c->at, opened, size, c->params<bus::Instance::ExportBackupParams>().getTo());
  });
}

kj::Promise<void> import_instance(const call_ptr& c) {
  auto params = c->params<bus::InstanceImport>();
  auto made = kj::heap<instance_upload>(c->at, text(params.getName()), text(params.getPool()));
  auto results = c->results<bus::Instances::ImportResults>();
  results.setBackup(made->receive());
  results.setUpload(kj::mv(made));
  return kj::READY_NOW;
}

} // namespace troupe::on_bus
